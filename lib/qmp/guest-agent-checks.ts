import type { GuestAgentCommandName, GuestAgentCommands } from "./guest-agent-commands.ts";
import { isJsonObject } from "./json-line.ts";
import { MAX_FILE_READ_BYTES } from "./limits.ts";
import {
  aBoolean,
  anInteger,
  arrayOf,
  aString,
  BadShapeError,
  base64,
  base64Bytes,
  type Check,
  empty,
  object,
  oneOf,
} from "./shape.ts";

type Checks = { readonly [Name in GuestAgentCommandName]: Check<GuestAgentCommands[Name]["result"]> };

const MAX_PID = 2 ** 31 - 1;
const MAX_SIGNAL = 128;
const MAX_ITEMS = 1_024;
const name = aString(256);
const text = aString(1_024);

/** What a command may answer. The guest is hostile: see untrusted answers in docs/QMP.md. */
const CHECKS: Checks = {
  "guest-ping": empty,
  "guest-info": object(
    {
      version: name,
      supported_commands: arrayOf(MAX_ITEMS, object({ name, enabled: aBoolean, "success-response": aBoolean }, {})),
    },
    {},
  ),
  "guest-sync-delimited": anInteger(0),
  "guest-exec": object({ pid: anInteger(1, MAX_PID) }, {}),
  "guest-exec-status": object(
    { exited: aBoolean },
    {
      // A Windows guest reports NTSTATUS values, as signed or unsigned 32 bits.
      exitcode: anInteger(-(2 ** 31), 2 ** 32 - 1),
      signal: anInteger(0, MAX_SIGNAL),
      "out-data": base64,
      "err-data": base64,
      "out-truncated": aBoolean,
      "err-truncated": aBoolean,
    },
  ),
  "guest-file-open": anInteger(0),
  "guest-file-read": fileRead,
  "guest-file-write": object({ count: anInteger(0), eof: aBoolean }, {}),
  "guest-file-close": empty,
  "guest-file-flush": empty,
  "guest-file-seek": object({ position: anInteger(0), eof: aBoolean }, {}),
  "guest-set-time": empty,
  // Nanoseconds are beyond 2^53, so no safe integer; 2^63 is what the wire's int64 can hold.
  "guest-get-time": anInteger(-(2 ** 63), 2 ** 63),
  "guest-network-get-interfaces": arrayOf(
    MAX_ITEMS,
    object(
      { name },
      {
        "hardware-address": name,
        "ip-addresses": arrayOf(
          MAX_ITEMS,
          object({ "ip-address": name, "ip-address-type": oneOf("ipv4", "ipv6"), prefix: anInteger(0, 128) }, {}),
        ),
      },
    ),
  ),
  "guest-get-host-name": object({ "host-name": name }, {}),
  "guest-get-osinfo": object(
    {},
    {
      "kernel-release": text,
      "kernel-version": text,
      machine: text,
      id: text,
      name: text,
      "pretty-name": text,
      version: text,
      "version-id": text,
      variant: text,
      "variant-id": text,
    },
  ),
  "guest-shutdown": empty,
};

/**
 * The answer of a typed command, checked and rebuilt; that of any other command as it came.
 *
 * @throws BadShapeError
 */
export function checkAnswer(command: string, args: Readonly<Record<string, unknown>>, value: unknown): unknown {
  if (!isTyped(command)) return value;
  const answer: unknown = CHECKS[command](value, command);
  refuseMoreThanAsked(command, args, answer);
  return answer;
}

function isTyped(command: string): command is GuestAgentCommandName {
  return Object.hasOwn(CHECKS, command);
}

const readShape = object({ count: anInteger(0, MAX_FILE_READ_BYTES), "buf-b64": base64, eof: aBoolean }, {});

function fileRead(value: unknown, at: string): GuestAgentCommands["guest-file-read"]["result"] {
  const answer = readShape(value, at);
  if (base64Bytes(answer["buf-b64"]) !== answer.count)
    throw new BadShapeError(`${at}.count must be the bytes of buf-b64`);
  return answer;
}

/** What a loop over reads or writes adds up must be bounded by what the loop asked for. */
function refuseMoreThanAsked(command: string, args: Readonly<Record<string, unknown>>, answer: unknown): void {
  if (command !== "guest-file-read" && command !== "guest-file-write") return;
  const count = isJsonObject(answer) && typeof answer.count === "number" ? answer.count : 0;
  const sent = args["buf-b64"];
  const asked = args.count ?? (typeof sent === "string" ? base64Bytes(sent) : undefined);
  if (typeof asked === "number" && count > asked) {
    throw new BadShapeError(`${command}.count must be at most the ${asked} bytes that were asked for`);
  }
}
