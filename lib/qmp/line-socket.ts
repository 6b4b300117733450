import { createConnection, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type ErrorCode, messageOf, VmSubstrateError, withDeadline } from "../core/index.ts";
import {
  CONNECT_RETRY_INTERVAL_MS,
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_LINE_BYTES,
  MAX_QUEUED_WRITE_BYTES,
  MAX_SOCKET_PATH_BYTES,
} from "./limits.ts";
import { LineSplitter, LineTooLongError } from "./line-splitter.ts";

/** Why a line socket ended. */
export type LineSocketClose =
  | { readonly reason: "eof" }
  | { readonly reason: "error"; readonly error: Error }
  | { readonly reason: "line-too-long"; readonly maxLineBytes: number }
  | { readonly reason: "local" };

/** The codes of the errors that a line socket throws, so that each protocol on top of it speaks its own. */
export interface LineSocketCodes {
  /** Could not be reached, or not in time. */
  readonly connect: ErrorCode;
  /** A write after, or interrupted by, the end of the connection. */
  readonly closed: ErrorCode;
}

export interface LineSocketOptions {
  /** Milliseconds for the whole of connecting, retries included. Default DEFAULT_CONNECT_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Longest line in bytes, its newline not counted. Default DEFAULT_MAX_LINE_BYTES (1 MiB). */
  readonly maxLineBytes?: number | undefined;
  /** Keep trying while nobody listens there yet, because the process that will is still starting. Default false. */
  readonly retryUntilPresent?: boolean | undefined;
  /** Default QMP_CONNECT and QMP_CLOSED. */
  readonly codes?: LineSocketCodes | undefined;
}

const QMP_CODES: LineSocketCodes = { connect: "QMP_CONNECT", closed: "QMP_CLOSED" };

/** What connect() says while a server is still starting: no file, nobody listening on it, or its backlog is full. */
const NOT_YET = new Set(["ENOENT", "ECONNREFUSED", "EAGAIN"]);

/**
 * A client of a unix stream socket whose peer speaks newline-terminated lines.
 *
 * Reading starts with the first `onLine`: until then the bytes wait in the kernel's and Node's bounded buffers, so no
 * line is lost and none is stored without limit.
 */
export class LineSocket implements AsyncDisposable {
  readonly path: string;
  /** Longest line accepted from now on, in bytes. May be changed between lines. */
  maxLineBytes: number;
  readonly #socket: Socket;
  readonly #codes: LineSocketCodes;
  readonly #splitter = new LineSplitter();
  readonly #closed = Promise.withResolvers<void>();
  readonly #closeListeners: ((cause: LineSocketClose) => void)[] = [];
  #onLine: ((line: Buffer) => void) | undefined;
  #cause: LineSocketClose | undefined;

  private constructor(socket: Socket, path: string, options: LineSocketOptions) {
    this.#socket = socket;
    this.path = path;
    this.maxLineBytes = options.maxLineBytes ?? DEFAULT_MAX_LINE_BYTES;
    this.#codes = options.codes ?? QMP_CODES;
    // Thousands of concurrent writes may wait for one drain.
    socket.setMaxListeners(0);
    socket.on("error", (error) => this.#end({ reason: "error", error }));
    socket.on("end", () => this.#end({ reason: "eof" }));
    socket.on("close", () => {
      this.#end({ reason: "eof" });
      this.#closed.resolve();
    });
  }

  /**
   * @throws VmSubstrateError PATH_TOO_LONG, ABORTED, or `codes.connect` (QMP_CONNECT) when nobody answers in time
   */
  static async connect(path: string, options: LineSocketOptions = {}): Promise<LineSocket> {
    refuseLongPath(path);
    const code = (options.codes ?? QMP_CODES).connect;
    let socket: Socket | undefined;
    try {
      return await withDeadline(
        {
          what: `connect to ${path}`,
          timeoutMs: options.timeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
          signal: options.signal,
          timeoutCode: code,
        },
        async (signal) => {
          for (;;) {
            signal.throwIfAborted();
            socket = createConnection({ path });
            const error = await connected(socket, signal);
            if (error === undefined) return new LineSocket(socket, path, options);
            if (!options.retryUntilPresent || !NOT_YET.has(error.code ?? "")) throw connectError(code, path, error);
            await sleep(CONNECT_RETRY_INTERVAL_MS, undefined, { signal });
          }
        },
      );
    } catch (error) {
      socket?.destroy();
      throw error;
    }
  }

  /** How it ended; undefined while it is open. */
  get closeCause(): LineSocketClose | undefined {
    return this.#cause;
  }

  /**
   * Sets the one listener for lines, given as bytes without the newline. A listener that throws ends the connection.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT when there is a listener already
   */
  onLine(listener: (line: Buffer) => void): void {
    if (this.#onLine) throw new VmSubstrateError("INVALID_ARGUMENT", `${this.path}: lines already have a listener`);
    this.#onLine = listener;
    this.#socket.on("data", (chunk: Buffer) => this.#read(chunk, listener));
  }

  /** Called exactly once, with the cause; in the next microtask when the connection has already ended. */
  onClose(listener: (cause: LineSocketClose) => void): void {
    const cause = this.#cause;
    if (cause) queueMicrotask(() => listener(cause));
    else this.#closeListeners.push(listener);
  }

  /**
   * Sends bytes as they are; the caller adds the newline. Resolves when they have left this process, or are queued
   * in a socket that has room, so awaiting it is the backpressure.
   *
   * @throws VmSubstrateError `codes.closed` (QMP_CLOSED) when the connection has ended or ends before that;
   *   INVALID_ARGUMENT when more than MAX_QUEUED_WRITE_BYTES would wait for a peer that does not read
   */
  async write(data: string | Uint8Array): Promise<void> {
    if (this.#cause) throw this.#closedError();
    const bytes = typeof data === "string" ? Buffer.byteLength(data) : data.byteLength;
    const queued = this.#socket.writableLength;
    if (queued + bytes > MAX_QUEUED_WRITE_BYTES) {
      throw new VmSubstrateError(
        "INVALID_ARGUMENT",
        `${this.path}: ${queued} bytes are already waiting to be sent and ${bytes} more would exceed ` +
          `${MAX_QUEUED_WRITE_BYTES}; await earlier writes, and close the connection if the peer has stopped reading`,
        { details: { queuedBytes: queued, maxQueuedBytes: MAX_QUEUED_WRITE_BYTES } },
      );
    }
    if (this.#socket.write(data)) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onClose = () => reject(this.#closedError());
    this.#socket.once("drain", resolve);
    this.#socket.once("close", onClose);
    try {
      await promise;
    } finally {
      this.#socket.off("drain", resolve);
      this.#socket.off("close", onClose);
    }
  }

  /** Ends the connection at once, dropping what is still queued. Safe to call again; resolves when the socket is gone. */
  async close(): Promise<void> {
    this.#end({ reason: "local" });
    await this.#closed.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #read(chunk: Buffer, listener: (line: Buffer) => void): void {
    if (this.#cause) return;
    try {
      this.#splitter.push(
        chunk,
        () => this.maxLineBytes,
        (line) => {
          listener(line);
          return this.#cause === undefined;
        },
      );
    } catch (error) {
      if (error instanceof LineTooLongError) this.#end({ reason: "line-too-long", maxLineBytes: error.maxLineBytes });
      else this.#end({ reason: "error", error: error instanceof Error ? error : new Error(messageOf(error)) });
    }
  }

  /** The only place where the connection ends; the first cause wins. */
  #end(cause: LineSocketClose): void {
    if (this.#cause) return;
    this.#cause = cause;
    this.#socket.destroy();
    for (const listener of this.#closeListeners.splice(0)) listener(cause);
  }

  #closedError(): VmSubstrateError {
    return closedError(this.#codes.closed, this.path, this.#cause ?? { reason: "local" });
  }
}

/** The cause of a close as an error of the given code. */
export function closedError(code: ErrorCode, path: string, cause: LineSocketClose): VmSubstrateError {
  return new VmSubstrateError(code, `${path}: ${closeText(cause)}`, {
    details: { path, reason: cause.reason },
    ...(cause.reason === "error" ? { cause: cause.error } : {}),
  });
}

function closeText(cause: LineSocketClose): string {
  if (cause.reason === "eof") return "the peer closed the connection";
  if (cause.reason === "local") return "the connection was closed by this side";
  if (cause.reason === "error") return cause.error.message;
  return `the peer sent a line longer than ${cause.maxLineBytes} bytes`;
}

/** Node cuts a longer path without a word, and would talk to another socket than the one that was asked for. */
function refuseLongPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new VmSubstrateError(
      "PATH_TOO_LONG",
      `a unix socket path may have ${MAX_SOCKET_PATH_BYTES} bytes, this one has ${bytes}: ${path}; use a shorter directory`,
      { details: { bytes, maxBytes: MAX_SOCKET_PATH_BYTES } },
    );
  }
  // A NUL would cut the path, and as its first byte would name an abstract socket, which no directory mode protects.
  if (path === "" || path.includes("\0")) {
    throw new VmSubstrateError("INVALID_ARGUMENT", "a unix socket path must not be empty or contain NUL");
  }
}

/** Settles once the socket is connected (undefined), failed (the error) or the signal fired (rejects). */
async function connected(socket: Socket, signal: AbortSignal): Promise<NodeJS.ErrnoException | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<NodeJS.ErrnoException | undefined>();
  const onAbort = () => {
    socket.destroy();
    reject(signal.reason);
  };
  const onConnect = () => resolve(undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  // Stays attached: an error that follows a destroy must find a listener.
  socket.on("error", resolve);
  socket.once("connect", onConnect);
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
    socket.off("connect", onConnect);
  }
}

function connectError(code: ErrorCode, path: string, error: NodeJS.ErrnoException): VmSubstrateError {
  return new VmSubstrateError(code, `connect to ${path}: ${error.message}; is the process running and listening?`, {
    cause: error,
    details: { path, errno: error.code },
  });
}
