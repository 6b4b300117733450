import { getSystemErrorMap } from "node:util";
import { VmSubstrateError } from "../core/index.ts";

/** One operation of the guest's helper; guest/helper/PROTOCOL.md describes each. Values hold no space or newline. */
export interface HelperOperation {
  readonly name:
    | "version"
    | "hostname"
    | "mac"
    | "ipv4"
    | "ipv6"
    | "entropy"
    | "clock"
    | "file"
    | "append"
    | "read"
    | "http"
    | "scrub"
    | "cpus"
    | "memory"
    | "udev"
    | "onlining"
    | "offline"
    | "disk"
    | "partition"
    | "poll";
  readonly value: string;
}

export const HELPER_PROTOCOL_VERSION = "3";
/** What `read` answers of a longer file. */
export const HELPER_READ_MAX_BYTES = 4096;
/** The helper's own buffer; a longer request would be dropped whole. */
export const HELPER_REQUEST_MAX_BYTES = 64 * 1024;
/** Printable ASCII without space: the fields of a line cannot be broken out of. */
const VALUE = /^[\x21-\x7e]*$/;

/** @throws VmSubstrateError INVALID_ARGUMENT */
export function encodeRequest(id: string, operations: readonly HelperOperation[]): string {
  for (const { name, value } of operations) {
    if (VALUE.test(value)) continue;
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `helper operation ${name}: its value holds a space or control character`,
    );
  }
  const line = `${[id, ...operations.map(({ name, value }) => `${name}=${value}`)].join(" ")}\n`;
  if (line.length > HELPER_REQUEST_MAX_BYTES) {
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `request to the helper is ${line.length} bytes, at most ${HELPER_REQUEST_MAX_BYTES} fit`,
    );
  }
  return line;
}

/** What the helper read back after each operation, in the request's order. */
export type HelperAnswer = readonly string[];

/**
 * Reads an answer line. Everything in it comes from the guest and may be a lie; here only its form is checked.
 *
 * @returns undefined for a line with another id: a stale answer, to be ignored
 * @throws VmSubstrateError GUEST_HELPER_FAILED
 */
export function decodeAnswer(
  id: string,
  operations: readonly HelperOperation[],
  line: string,
): HelperAnswer | undefined {
  const [answeredId, verdict, ...fields] = line.split(" ");
  if (answeredId !== id) return undefined;
  if (verdict === "error") {
    const [operation = "?", errno = "?"] = fields;
    const asked = operations.filter(({ name }) => name === operation);
    const known = asked.length > 0 ? operation : "(unknown)";
    const reason = errnoName(Number.parseInt(errno, 10));
    const hint = HINTS[`${known} ${reason}`];
    const message = `the guest's helper could not do "${known}"${subjectsOf(asked)} (${reason})${hint === undefined ? "" : `: ${hint}`}`;
    throw new VmSubstrateError("GUEST_HELPER_FAILED", message, { details: { operation: known } });
  }
  const wellFormed =
    verdict === "ok" && fields.length === operations.length && fields.every((text) => VALUE.test(text));
  const values = operations.map(({ name }, i) =>
    fields[i]?.startsWith(`${name}=`) ? fields[i].slice(name.length + 1) : undefined,
  );
  if (!wellFormed || values.includes(undefined)) {
    throw new VmSubstrateError("GUEST_HELPER_FAILED", "the guest's helper gave a malformed answer");
  }
  return values as string[];
}

/** Those whose values begin with what they are about, and have nothing secret in that. */
const WITH_SUBJECT: ReadonlySet<HelperOperation["name"]> = new Set([
  "mac",
  "ipv4",
  "ipv6",
  "file",
  "append",
  "read",
  "disk",
  "partition",
]);
const NO_GROWTH = "the root is no file system that grows: ext4, xfs and btrfs do";
const NOT_WRITABLE = "the root file system is mounted read-only";
const NOT_NOW = "the file system is being changed by something else, as by a balance of btrfs";
/** Mistakes of recipes, by operation and reason. */
const HINTS: Readonly<Record<string, string>> = {
  "file ELOOP": "a symbolic link is not followed; name the file that it leads to, or none",
  "file ENOENT": "its folder is not there",
  "offline ENOMEM": "what its programs have would not fit into the rest",
  "offline EBUSY": "something in it cannot be moved",
  "offline ETIMEDOUT": "what its programs have there could not be moved in time",
  "mac ENODEV": "the guest has no NIC of that name; the recipe's interface says which",
  "ipv4 ENODEV": "the guest has no NIC of that name; the recipe's interface says which",
  "disk ENOTTY": NO_GROWTH,
  "disk EROFS": NOT_WRITABLE,
  "disk EBUSY": NOT_NOW,
  "partition ENOSPC": "it is not the last partition of its disk",
  "partition ENOTTY": NO_GROWTH,
  "partition EROFS": NOT_WRITABLE,
  "partition EBUSY": NOT_NOW,
};

/** The helper does not say which of several it was. */
function subjectsOf(asked: readonly HelperOperation[]): string {
  const named = asked.filter(({ name }) => WITH_SUBJECT.has(name)).map(({ value }) => value.split(",", 1)[0]);
  const subjects = [...new Set(named)];
  if (subjects.length === 0) return "";
  return ` of ${subjects.length > 1 ? "one of " : ""}${subjects.join(", ")}`;
}

/** Answered by path and number of bytes. */
export function fileOperation(path: string, mode: number, content: string | Uint8Array): HelperOperation {
  return { name: "file", value: `${path},${mode.toString(8)},${Buffer.from(content).toString("base64")}` };
}

/** Answered by path and the file's size afterwards. */
export function appendOperation(path: string, content: Uint8Array): HelperOperation {
  return { name: "append", value: `${path},${Buffer.from(content).toString("base64")}` };
}

/** "ENOENT" for 2. Linux's numbers are the same in the guest. */
function errnoName(errno: number): string {
  const known = Number.isInteger(errno) && errno > 0 ? getSystemErrorMap().get(-errno)?.[0] : undefined;
  return known ?? `errno ${errno}`;
}
