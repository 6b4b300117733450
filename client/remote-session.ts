import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { type RawData, WebSocket } from "ws";
import {
  API_PREFIX,
  SESSION_CHANNELS,
  SESSION_WINDOW_BYTES,
  type SessionOrder,
  type SessionReport,
  type SessionStart,
} from "../api/index.ts";
import { SessionInput, SessionOutput } from "../lib/clone/index.ts";
import { abortedError, withDeadline } from "../lib/core/index.ts";
import { type SessionExit, type SessionOptions, type TerminalSize, VmSubstrateError } from "../lib/index.ts";
import type { Target } from "./http.ts";
import type { SessionHandle } from "./pool-handle.ts";
import { errorOf } from "./problem-error.ts";

/** The daemon's own deadline for the start is the shorter one. */
const CONNECT_TIMEOUT_MS = 3_600_000;
const END_TIMEOUT_MS = 5000;

/** A program of a daemon's VM, as `Session`. */
export class RemoteSession implements SessionHandle {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exited: Promise<SessionExit>;
  readonly #socket: WebSocket;
  readonly #hasTerminal: boolean;
  readonly #input: SessionInput;
  readonly #outputs: { readonly stdout: SessionOutput; readonly stderr: SessionOutput };
  readonly #started = Promise.withResolvers<void>();
  readonly #exit = Promise.withResolvers<SessionExit>();
  readonly #closed = Promise.withResolvers<void>();
  #isOver = false;

  private constructor(socket: WebSocket, start: SessionStart) {
    this.#socket = socket;
    this.#hasTerminal = start.tty !== undefined;
    this.exited = this.#exit.promise;
    for (const { promise } of [this.#exit, this.#started]) promise.catch(() => {});
    const stdin = Buffer.of(SESSION_CHANNELS.stdin);
    this.#input = new SessionInput({
      send: (bytes) => this.#socket.send(Buffer.concat([stdin, bytes])),
      sendEnd: () => this.#order({ end: true }),
      windowBytes: SESSION_WINDOW_BYTES.stdin,
    });
    const output = (name: "stdout" | "stderr") =>
      new SessionOutput((bytes) => this.#order({ credit: { [name]: bytes } }), SESSION_WINDOW_BYTES[name]);
    this.#outputs = { stdout: output("stdout"), stderr: output("stderr") };
    this.stdin = this.#input;
    this.stdout = this.#outputs.stdout;
    this.stderr = this.#outputs.stderr;
    socket.on("open", () => socket.send(JSON.stringify(start)));
    socket.on("message", (data, isBinary) => this.#onMessage(data, isBinary));
    socket.on("error", (cause) => this.#fail(lost(cause)));
    socket.on("close", () => {
      this.#fail(lost());
      this.#closed.resolve();
    });
  }

  /** @throws VmSubstrateError as `Vm.session`, DAEMON_UNREACHABLE @internal */
  static async open(
    target: Target,
    id: string,
    argv: readonly string[],
    { signal, ...options }: SessionOptions,
  ): Promise<RemoteSession> {
    const { origin, socket, token } = target;
    const path = `${API_PREFIX}/vms/${id}/session`;
    const url = socket === undefined ? `${origin.replace(/^http/, "ws")}${path}` : `ws+unix:${socket}:${path}`;
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const connection = new WebSocket(url, { headers, perMessageDeflate: false });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the daemon validates every value
    const session = new RemoteSession(connection, { ...options, argv } as SessionStart);
    connection.on("unexpected-response", (_request, response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => session.#fail(refused(Buffer.concat(chunks), response.statusCode)));
    });
    try {
      await withDeadline({ what: "session", timeoutMs: CONNECT_TIMEOUT_MS, signal }, () => session.#started.promise);
    } catch (error) {
      connection.terminate();
      throw error;
    }
    const onAbort = () => {
      session.#fail(abortedError(signal, "session"));
      connection.terminate();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    connection.once("close", () => signal?.removeEventListener("abort", onAbort));
    return session;
  }

  resize(size: TerminalSize): void {
    if (!this.#hasTerminal) {
      throw new VmSubstrateError("INVALID_ARGUMENT", "resize: the session has no terminal; open it with tty");
    }
    const { columns, rows } = size;
    this.#order({ resize: { columns, rows } });
  }

  kill(signal: NodeJS.Signals | number = "SIGTERM"): void {
    const number = typeof signal === "number" ? signal : constants.signals[signal];
    if (!Object.values(constants.signals).includes(number)) {
      throw new VmSubstrateError("INVALID_ARGUMENT", `kill: there is no signal ${String(signal)}`);
    }
    this.#order({ signal: number });
  }

  /** Ends the program; the daemon does so as well when this connection ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const output of Object.values(this.#outputs)) output.resume(); // what nobody read any more is in the way of the end
    this.#order({ close: true });
    const timer = setTimeout(() => this.#socket.terminate(), END_TIMEOUT_MS);
    await this.#closed.promise;
    clearTimeout(timer);
  }

  #order(order: SessionOrder): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(order));
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data);
    if (isBinary) {
      const name = bytes[0] === SESSION_CHANNELS.stdout ? "stdout" : "stderr";
      this.#outputs[name].accept(bytes.subarray(1));
      return;
    }
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the daemon is trusted
    const report = JSON.parse(bytes.toString()) as SessionReport;
    if ("started" in report) this.#started.resolve();
    else if ("credit" in report) this.#input.giveCredit(report.credit.stdin);
    else if ("error" in report) this.#fail(errorOf(report.error));
    else {
      this.#isOver = true;
      for (const output of Object.values(this.#outputs)) output.push(null);
      this.#exit.resolve(report.exited);
      this.#input.destroy();
    }
  }

  /** Does nothing when the program's end was told before. */
  #fail(why: VmSubstrateError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#started.reject(why);
    this.#exit.reject(why);
    this.#input.destroy();
    for (const output of Object.values(this.#outputs)) output.destroy(why);
  }
}

function lost(cause?: Error): VmSubstrateError {
  const message = `the connection to the daemon ended${cause === undefined ? "" : `: ${cause.message}`}`;
  return new VmSubstrateError("DAEMON_UNREACHABLE", message, { cause });
}

function refused(body: Buffer, status: number | undefined): VmSubstrateError {
  try {
    return errorOf(JSON.parse(body.toString()), status);
  } catch {
    return errorOf(undefined, status);
  }
}
