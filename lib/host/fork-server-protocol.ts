import { constants } from "node:os";
import { KIB, VmSubstrateError } from "../core/index.ts";
import type { ExitCause, SpawnRequest, VmPlace } from "./process-handle.ts";

/** The other side of it is native/fork-server.c. */
export const PROTOCOL_VERSION = 2;
/** Of the strings of one request, all together. */
const MAX_REQUEST_BYTES = 64 * KIB;
const MAX_ARGUMENTS = 1024;
const MAX_INHERITED_FILES = 16;
/** Kind, number, and two values: unsigned, 32 bits each. */
const ANSWER_SIZE = 16;
const REQUEST_KINDS = { start: 1, signal: 2, zygote: 3, fork: 4 } as const;

/** What a zygote is to make of itself: see native/zygote.c. */
export interface ForkOrder extends VmPlace {
  /** As `SpawnRequest.logFile`. */
  readonly logFile: string;
  /** By which QEMU knows itself: `query-name`, `query-uuid`. */
  readonly name: string;
  readonly uuid: string;
  /** What its command line shows. Nothing is done by it. */
  readonly argv: readonly string[];
}

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
  const strings = stringsOf([logFile, ...inheritFiles], argv, argumentRoom);
  return Buffer.concat([
    words(REQUEST_KINDS.start, number, requireInheritable(inheritFiles), argv.length, strings.length),
    strings,
  ]);
}

/** As `startRequest`, of a process that can be forked later. It works in its place's directory. */
export function zygoteRequest(number: number, request: SpawnRequest, place: VmPlace, argumentRoom: number): Buffer {
  const { argv, logFile, inheritFiles = [] } = request;
  const strings = stringsOf([logFile, place.dir, place.sockets, ...inheritFiles], argv, argumentRoom);
  return Buffer.concat([
    words(REQUEST_KINDS.zygote, number, requireInheritable(inheritFiles), argv.length, strings.length),
    strings,
  ]);
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
export function forkRequest(number: number, zygote: number, order: ForkOrder, argumentRoom: number): Buffer {
  const { logFile, dir, sockets, name, uuid, argv } = order;
  const strings = stringsOf([logFile, dir, sockets, name, uuid], argv, argumentRoom);
  return Buffer.concat([words(REQUEST_KINDS.fork, number, zygote, argv.length, strings.length), strings]);
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

/** Names, then arguments, each with its NUL. */
function stringsOf(names: readonly string[], argv: readonly string[], argumentRoom: number): Buffer {
  const texts = [...names, ...argv];
  // A NUL ends a string: what follows it would be the next argument.
  if (texts.some((text) => text.includes("\0"))) refuse("an argument or file name holds a NUL");
  if (argv.length > MAX_ARGUMENTS) refuse(`${argv.length} arguments, at most ${MAX_ARGUMENTS} are possible`);
  const argumentBytes = argv.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
  if (argumentBytes > argumentRoom) refuse(`arguments of ${argumentBytes} bytes, at most ${argumentRoom} fit`);
  const strings = Buffer.from(texts.map((text) => `${text}\0`).join(""));
  if (strings.length > MAX_REQUEST_BYTES) {
    refuse(`arguments and file names of ${strings.length} bytes, at most ${MAX_REQUEST_BYTES} fit`);
  }
  return strings;
}

/** @returns how many they are */
function requireInheritable({ length }: readonly string[]): number {
  if (length > MAX_INHERITED_FILES) refuse(`${length} inherited files, at most ${MAX_INHERITED_FILES} are possible`);
  return length;
}

function refuse(problem: string): never {
  throw new VmSubstrateError("INVALID_ARGUMENT", `QEMU cannot be started with these arguments: ${problem}`);
}
