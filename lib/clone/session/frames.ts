import { VmSubstrateError } from "../../core/index.ts";

/** The numbers of guest/session/PROTOCOL.md, which guest/session/session.h has as well. */
const HEADER_BYTES = 7;
export const MAX_PAYLOAD_BYTES = 65_536;
export const MAX_SESSIONS = 16;
export const STDIN_WINDOW_BYTES = 65_536;
export const OUTPUT_WINDOW_BYTES = 262_144;

export const TO_GUEST = { open: 1, stdin: 2, stdinEnd: 3, resize: 4, signal: 5, credit: 6, close: 7 } as const;
const TO_HOST = { started: 16, stdout: 17, stderr: 18, stdinCredit: 19, exited: 20, failed: 21 } as const;

/** What the guest says that it could not do. */
const FAILED_STEPS = { 1: "program", 2: "folder", 3: "resources" } as const;

/** How a program ended: one of the two is null. */
export interface SessionExit {
  readonly exitCode: number | null;
  readonly signal: number | null;
}

/** What the guest says of one session. */
export type GuestWord =
  | { readonly type: "started" }
  | { readonly type: "stdout" | "stderr"; readonly bytes: Buffer }
  | { readonly type: "stdinCredit"; readonly bytes: number }
  | ({ readonly type: "exited" } & SessionExit)
  | {
      readonly type: "failed";
      readonly step: (typeof FAILED_STEPS)[keyof typeof FAILED_STEPS];
      readonly errno: number;
    };

export interface SessionStart {
  readonly tty: { readonly columns: number; readonly rows: number } | undefined;
  readonly folder: string;
  readonly argv: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** @throws RangeError for a payload that is too long, which whoever makes one has to see to */
export function encodeFrame(type: keyof typeof TO_GUEST, session: number, payload: Uint8Array = NOTHING): Buffer {
  if (payload.length > MAX_PAYLOAD_BYTES) throw new RangeError(`a payload of ${payload.length} bytes`);
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt8(TO_GUEST[type], 0);
  frame.writeUInt16BE(session, 1);
  frame.writeUInt32BE(payload.length, 3);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

const NOTHING = new Uint8Array();

/** @throws VmSubstrateError INVALID_ARGUMENT when it is too long */
export function encodeStart({ tty, folder, argv, env }: SessionStart): Buffer {
  const head = Buffer.alloc(9);
  head.writeUInt8(tty === undefined ? 0 : 1, 0);
  head.writeUInt16BE(tty?.columns ?? 0, 1);
  head.writeUInt16BE(tty?.rows ?? 0, 3);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  head.writeUInt16BE(argv.length, 5);
  head.writeUInt16BE(variables.length, 7);
  const payload = Buffer.concat([head, ...[folder, ...argv, ...variables].map((text) => Buffer.from(`${text}\0`))]);
  if (payload.length <= MAX_PAYLOAD_BYTES) return payload;
  const message = `session: arguments and environment are ${payload.length} bytes, at most ${MAX_PAYLOAD_BYTES} fit`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { bytes: payload.length } });
}

export function encodeSize({ columns, rows }: { readonly columns: number; readonly rows: number }): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt16BE(columns, 0);
  payload.writeUInt16BE(rows, 2);
  return payload;
}

export function encodeCredit(output: "stdout" | "stderr", bytes: number): Buffer {
  const payload = Buffer.alloc(5);
  payload.writeUInt8(output === "stdout" ? 0 : 1, 0);
  payload.writeUInt32BE(bytes, 1);
  return payload;
}

/** Thrown for what is no frame. */
export class BadFrameError extends Error {}

/** Takes a stream apart into frames; keeps no more than one of them. */
export class FrameReader {
  readonly #onWord: (session: number, word: GuestWord) => void;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #payload: Buffer | undefined;
  #payloadBytes = 0;

  constructor(onWord: (session: number, word: GuestWord) => void) {
    this.#onWord = onWord;
  }

  /** @throws BadFrameError after which nothing more can be understood */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#payload === undefined) {
        const copied = chunk.copy(this.#header, this.#headerBytes, at);
        at += copied;
        this.#headerBytes += copied;
        if (this.#headerBytes < HEADER_BYTES) return;
        this.#payload = newPayload(this.#header);
      }
      const copied = chunk.copy(this.#payload, this.#payloadBytes, at);
      at += copied;
      this.#payloadBytes += copied;
      if (this.#payloadBytes < this.#payload.length) return;
      const payload = this.#payload;
      this.#payload = undefined;
      this.#payloadBytes = 0;
      this.#headerBytes = 0;
      this.#onWord(this.#header.readUInt16BE(1), wordOf(this.#header.readUInt8(0), payload));
    }
  }
}

function newPayload(header: Buffer): Buffer {
  const session = header.readUInt16BE(1);
  if (session < 1 || session > MAX_SESSIONS) throw new BadFrameError(`a session ${session}`);
  const length = header.readUInt32BE(3);
  if (length > MAX_PAYLOAD_BYTES) throw new BadFrameError(`a payload of ${length} bytes`);
  return Buffer.alloc(length);
}

function wordOf(type: number, payload: Buffer): GuestWord {
  switch (type) {
    case TO_HOST.started:
      requireLength(payload, 0);
      return { type: "started" };
    case TO_HOST.stdout:
    case TO_HOST.stderr:
      if (payload.length === 0) throw new BadFrameError("output of no bytes");
      return { type: type === TO_HOST.stdout ? "stdout" : "stderr", bytes: payload };
    case TO_HOST.stdinCredit:
      requireLength(payload, 4);
      return { type: "stdinCredit", bytes: payload.readUInt32BE(0) };
    case TO_HOST.exited:
      requireLength(payload, 2);
      return { type: "exited", ...exitOf(payload.readUInt8(0), payload.readUInt8(1)) };
    case TO_HOST.failed: {
      requireLength(payload, 2);
      const step = payload.readUInt8(0);
      if (step !== 1 && step !== 2 && step !== 3) throw new BadFrameError(`a failed step ${step}`);
      return { type: "failed", step: FAILED_STEPS[step], errno: payload.readUInt8(1) };
    }
    default:
      throw new BadFrameError(`a frame of type ${type}`);
  }
}

function exitOf(kind: number, value: number): SessionExit {
  if (kind === 0) return { exitCode: value, signal: null };
  if (kind === 1) return { exitCode: null, signal: value };
  throw new BadFrameError(`an exit of kind ${kind}`);
}

function requireLength(payload: Buffer, bytes: number): void {
  if (payload.length !== bytes) throw new BadFrameError(`a payload of ${payload.length} bytes instead of ${bytes}`);
}
