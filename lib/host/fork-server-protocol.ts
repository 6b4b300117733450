import { constants } from "node:os";
import { KIB, VmSubstrateError } from "../core/index.ts";
import type { ExitCause, SpawnRequest } from "./process-handle.ts";

/** The other side of it is native/fork-server.c. */
export const PROTOCOL_VERSION = 1;
/** Of the strings of one request, all together. */
const MAX_REQUEST_BYTES = 64 * KIB;
const MAX_ARGUMENTS = 1024;
const MAX_INHERITED_FILES = 16;
/** Kind, number, and two values: unsigned, 32 bits each. */
const ANSWER_SIZE = 16;
const REQUEST_KINDS = { start: 1, signal: 2 } as const;

/** What the server tells. */
export type Answer =
  | { readonly kind: "ready"; readonly version: number; readonly argumentRoom: number }
  | { readonly kind: "started"; readonly request: number; readonly pid: number; readonly errno: number }
  | { readonly kind: "ended"; readonly pid: number; readonly cause: ExitCause };

/**
 * A request for a process.
 *
 * @param argumentRoom how many bytes of arguments the server's children can show in their command lines
 * @throws VmSubstrateError INVALID_ARGUMENT
 */
export function startRequest(number: number, request: SpawnRequest, argumentRoom: number): Buffer {
  const { argv, logFile, inheritFiles = [] } = request;
  const texts = [logFile, ...inheritFiles, ...argv];
  // A NUL ends a string: what follows it would be the next argument.
  if (texts.some((text) => text.includes("\0"))) refuse("an argument or file name holds a NUL", request);
  if (argv.length > MAX_ARGUMENTS) refuse(`${argv.length} arguments, at most ${MAX_ARGUMENTS} are possible`, request);
  if (inheritFiles.length > MAX_INHERITED_FILES) {
    refuse(`${inheritFiles.length} inherited files, at most ${MAX_INHERITED_FILES} are possible`, request);
  }
  const argumentBytes = argv.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
  if (argumentBytes > argumentRoom) refuse(`arguments of ${argumentBytes} bytes, at most ${argumentRoom} fit`, request);
  const strings = Buffer.from(texts.map((text) => `${text}\0`).join(""));
  if (strings.length > MAX_REQUEST_BYTES) {
    refuse(`arguments and file names of ${strings.length} bytes, at most ${MAX_REQUEST_BYTES} fit`, request);
  }
  const header = words(REQUEST_KINDS.start, number, inheritFiles.length, argv.length, strings.length);
  return Buffer.concat([header, strings]);
}

export function signalRequest(pid: number, signal: NodeJS.Signals): Buffer {
  return words(REQUEST_KINDS.signal, pid, constants.signals[signal], 0, 0);
}

/** Cuts the server's stream into answers. */
export class AnswerReader {
  #rest: Buffer = Buffer.alloc(0);

  /** @returns the answers that `chunk` completes; undefined for one that no server of ours sends */
  read(chunk: Buffer): (Answer | undefined)[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const whole = bytes.length - (bytes.length % ANSWER_SIZE);
    this.#rest = bytes.subarray(whole);
    const answers: (Answer | undefined)[] = [];
    for (let at = 0; at < whole; at += ANSWER_SIZE) answers.push(answerAt(bytes, at));
    return answers;
  }
}

function answerAt(bytes: Buffer, at: number): Answer | undefined {
  const word = (index: number) => bytes.readUInt32LE(at + index * 4);
  switch (word(0)) {
    case 1:
      return { kind: "ready", version: word(1), argumentRoom: word(2) };
    case 2:
      return { kind: "started", request: word(1), pid: word(2), errno: word(3) };
    case 3:
      return { kind: "ended", pid: word(1), cause: exitCause(word(2)) };
    default:
      return undefined;
  }
}

/** Of a wait status. Source: wait(2). */
function exitCause(status: number): ExitCause {
  const number = status & 0x7f;
  if (number === 0) return { code: (status >> 8) & 0xff, signal: null };
  const names = Object.keys(constants.signals) as NodeJS.Signals[];
  return { code: null, signal: names.find((name) => constants.signals[name] === number) ?? null };
}

function words(...values: readonly number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) buffer.writeUInt32LE(value, i * 4);
  return buffer;
}

function refuse(problem: string, { binary }: SpawnRequest): never {
  throw new VmSubstrateError("INVALID_ARGUMENT", `${binary} cannot be started with these arguments: ${problem}`);
}
