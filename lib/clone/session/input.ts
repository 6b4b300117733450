import { Writable } from "node:stream";
import { STDIN_WINDOW_BYTES } from "./frames.ts";

/** Small enough that several sessions take turns. */
const PIECE_BYTES = 16_384;

type Done = (error?: Error | null) => void;

interface InputOptions {
  readonly send: (bytes: Uint8Array) => void;
  readonly sendEnd: () => void;
  /** How much may be under way. Default 64 KiB. */
  readonly windowBytes?: number;
}

/** What a program reads. It goes to the guest as the guest gives credit for it; the rest waits with whoever writes. */
export class SessionInput extends Writable {
  readonly #options: InputOptions;
  readonly #windowBytes: number;
  #credit: number;
  #waiting: { readonly chunk: Buffer; at: number; readonly done: Done } | undefined;

  constructor(options: InputOptions) {
    super({ decodeStrings: true });
    this.#options = options;
    this.#windowBytes = options.windowBytes ?? STDIN_WINDOW_BYTES;
    this.#credit = this.#windowBytes;
    this.on("error", () => {});
  }

  /** @returns whether the guest can have taken so much */
  giveCredit(bytes: number): boolean {
    this.#credit += bytes;
    if (this.#credit > this.#windowBytes) return false;
    this.#sendOn();
    return true;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#waiting = { chunk, at: 0, done };
    this.#sendOn();
  }

  override _final(done: () => void): void {
    this.#options.sendEnd();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.done(error ?? new Error("the session has ended"));
    done(error);
  }

  #sendOn(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    const { chunk, done } = waiting;
    while (this.#credit > 0 && waiting.at < chunk.length) {
      const piece = chunk.subarray(waiting.at, waiting.at + Math.min(this.#credit, PIECE_BYTES));
      this.#credit -= piece.length;
      waiting.at += piece.length;
      this.#options.send(piece);
    }
    if (waiting.at < chunk.length) return;
    this.#waiting = undefined;
    done();
  }
}
