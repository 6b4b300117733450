import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { messageOf, VmSubstrateError } from "../../core/index.ts";
import { encodeFrame, FrameReader, type GuestWord, MAX_SESSIONS, type TO_GUEST } from "./frames.ts";

/** Beyond what sessions have credit for: what they may say besides, to a guest that takes nothing. */
const MAX_QUEUED_BYTES = 2 * 1024 * 1024;

/** One session, as the link sees it. */
export interface LinkedSession {
  /** @throws VmSubstrateError when it cannot be true; that ends the link */
  onWord(word: GuestWord): void;
}

/** The connection over which all sessions of a VM go. It ends as a whole, and tells that once. */
export class SessionLink implements AsyncDisposable {
  /** Resolves with why it ended. */
  readonly ended: Promise<VmSubstrateError>;
  readonly #end: (why: VmSubstrateError) => void;
  readonly #socket: Socket;
  readonly #sessions = new Map<number, LinkedSession>();
  #endCause: VmSubstrateError | undefined;

  private constructor(socket: Socket) {
    const { promise, resolve } = Promise.withResolvers<VmSubstrateError>();
    this.ended = promise;
    this.#end = resolve;
    this.#socket = socket;
    const reader = new FrameReader((number, word) => this.#take(number, word));
    socket.on("data", (chunk) => {
      try {
        if (this.#endCause === undefined) reader.push(chunk);
      } catch (error) {
        this.destroy(sessionFailed(`the guest does not keep to the protocol: ${messageOf(error)}`, error));
      }
    });
    socket.on("error", (error) => this.destroy(sessionFailed(`the channel broke: ${error.message}`, error)));
    socket.on("close", () => this.destroy(sessionFailed("QEMU closed the channel")));
  }

  /** @throws VmSubstrateError SESSION_FAILED; the signal's reason */
  static async connect(path: string, signal: AbortSignal): Promise<SessionLink> {
    const socket = createConnection(path);
    try {
      await once(socket, "connect", { signal });
      return new SessionLink(socket);
    } catch (error) {
      socket.on("error", () => {});
      socket.destroy();
      signal.throwIfAborted();
      throw sessionFailed(`${path} cannot be connected to: ${messageOf(error)}`, error);
    }
  }

  get isOpen(): boolean {
    return this.#endCause === undefined;
  }

  /** @returns its number, which it has until the guest says that it has ended @throws VmSubstrateError SESSION_FAILED */
  enter(session: LinkedSession): number {
    if (this.#endCause !== undefined) throw this.#endCause;
    for (let number = 1; number <= MAX_SESSIONS; number++) {
      if (this.#sessions.has(number)) continue;
      this.#sessions.set(number, session);
      return number;
    }
    throw tooMany();
  }

  send(type: keyof typeof TO_GUEST, number: number, payload?: Uint8Array): void {
    if (this.#endCause !== undefined) return;
    this.#socket.write(encodeFrame(type, number, payload));
    if (this.#socket.writableLength <= MAX_QUEUED_BYTES) return;
    this.destroy(sessionFailed(`the guest has left ${MAX_QUEUED_BYTES} bytes unread`));
  }

  /** Ends it now. The first cause is what counts. */
  destroy(why: VmSubstrateError): void {
    if (this.#endCause !== undefined) return;
    this.#endCause = why;
    this.#socket.destroy();
    this.#sessions.clear();
    this.#end(why);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy(sessionFailed("the channel was closed"));
  }

  #take(number: number, word: GuestWord): void {
    const session = this.#sessions.get(number);
    if (session === undefined) throw new TypeError(`word of session ${number}, which there is not`);
    if (word.type === "exited" || word.type === "failed") this.#sessions.delete(number);
    session.onWord(word);
  }
}

export function sessionFailed(why: string, cause?: unknown): VmSubstrateError {
  return new VmSubstrateError("SESSION_FAILED", `session: ${why}`, cause === undefined ? {} : { cause });
}

export function tooMany(): VmSubstrateError {
  return sessionFailed(`the VM has ${MAX_SESSIONS} sessions, and no more at a time; end one first`);
}
