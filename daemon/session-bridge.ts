import type { RawData, WebSocket } from "ws";
import {
  SESSION_CHANNELS,
  SESSION_WINDOW_BYTES,
  type SessionReport,
  sessionOrderSchema,
  sessionStartSchema,
} from "../api/index.ts";
import { type Session, SessionInput, SessionOutput } from "../lib/clone/index.ts";
import { validate, withDeadline } from "../lib/core/index.ts";
import { type Vm, VmSubstrateError } from "../lib/index.ts";
import { problemOf } from "./problem.ts";

/** A client says at once what it wants. */
const START_TIMEOUT_MS = 10_000;
/** A client that vanished without a word is noticed after two of these. */
const PING_INTERVAL_MS = 30_000;
/** Codes of RFC 6455, section 7.4.1. */
const NORMAL = 1000;
const FAILED = 1011;

/** Carries one program of a VM over a WebSocket, from the client's first message to the program's end. Never throws. */
export async function bridgeSession(socket: WebSocket, vm: Vm, requestId: string, closing: AbortSignal): Promise<void> {
  const bridge = new Bridge(socket, closing);
  try {
    const { exitCode, signal } = await bridge.run(vm);
    bridge.tell({ exited: { exitCode, signal } });
    socket.close(NORMAL);
  } catch (error) {
    bridge.tell({ error: problemOf(error, requestId) });
    socket.close(FAILED);
  } finally {
    bridge.end();
  }
}

class Bridge {
  readonly #socket: WebSocket;
  readonly #gone = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #undo = new DisposableStack();
  #isAlive = true;
  /** What the program reads, as the client sends it. */
  readonly #stdin = new SessionOutput((stdin) => this.tell({ credit: { stdin } }), SESSION_WINDOW_BYTES.stdin);
  readonly #outputs = { stdout: this.#output("stdout"), stderr: this.#output("stderr") };
  #session: Session | undefined;
  #start: ((text: string) => void) | undefined;

  constructor(socket: WebSocket, closing: AbortSignal) {
    this.#socket = socket;
    const giveUp = (why: string) => this.#gone.abort(new VmSubstrateError("ABORTED", why));
    socket.on("close", () => giveUp("the client hung up"));
    socket.on("error", () => giveUp("the client's connection broke"));
    socket.on("pong", () => (this.#isAlive = true));
    socket.on("message", (data, isBinary) => this.#onMessage(data, isBinary));
    const stop = () => giveUp("the daemon stops");
    closing.addEventListener("abort", stop, { once: true });
    this.#undo.defer(() => closing.removeEventListener("abort", stop));
    if (closing.aborted) stop();
    this.#timer = setInterval(() => this.#ping(), PING_INTERVAL_MS).unref();
  }

  async run(vm: Vm) {
    const { signal } = this.#gone;
    const { promise: asked, resolve } = Promise.withResolvers<string>();
    this.#start = resolve;
    const text = await withDeadline(
      { what: "session: the first message", timeoutMs: START_TIMEOUT_MS, signal },
      () => asked,
    );
    const { argv, ...options } = validate(sessionStartSchema, parsed(text), "session");
    const session = await vm.session(argv, { ...options, signal });
    this.#session = session;
    this.tell({ started: true });
    this.#stdin.pipe(session.stdin);
    const sent = (["stdout", "stderr"] as const).map(
      (name) =>
        new Promise<void>((done) => {
          this.#outputs[name].once("close", done);
          session[name].once("error", () => this.#outputs[name].destroy());
          session[name].pipe(this.#outputs[name]);
        }),
    );
    const exit = await session.exited;
    await Promise.race([Promise.all(sent), aborted(signal)]);
    return exit;
  }

  tell(report: SessionReport): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify(report));
  }

  end(): void {
    clearInterval(this.#timer);
    this.#undo.dispose();
    this.#gone.abort(new VmSubstrateError("ABORTED", "the session is over"));
    this.#stdin.destroy();
    for (const output of Object.values(this.#outputs)) output.destroy();
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    try {
      const bytes = bytesOf(data);
      if (isBinary) this.#take(bytes);
      else if (this.#start !== undefined) {
        this.#start(bytes.toString());
        this.#start = undefined;
      } else this.#obey(bytes.toString());
    } catch (error) {
      this.#gone.abort(error);
    }
  }

  /** @throws VmSubstrateError INVALID_ARGUMENT */
  #take(bytes: Buffer): void {
    if (bytes[0] !== SESSION_CHANNELS.stdin || !this.#stdin.accept(bytes.subarray(1))) {
      throw invalid("expected input, and no more than there is credit for");
    }
  }

  /** @throws VmSubstrateError INVALID_ARGUMENT */
  #obey(text: string): void {
    const order = validate(sessionOrderSchema, parsed(text), "session");
    if ("end" in order) this.#stdin.push(null);
    else if ("close" in order) void this.#session?.[Symbol.asyncDispose]().catch(() => {});
    else if ("resize" in order) this.#session?.resize(order.resize);
    else if ("signal" in order) this.#session?.kill(order.signal);
    else {
      for (const name of ["stdout", "stderr"] as const) {
        const bytes = order.credit[name];
        if (bytes !== undefined && !this.#outputs[name].giveCredit(bytes))
          throw invalid("credit for what was not sent");
      }
    }
  }

  #output(name: "stdout" | "stderr"): SessionInput {
    const head = Buffer.of(SESSION_CHANNELS[name]);
    return new SessionInput({
      send: (bytes) => this.#socket.send(Buffer.concat([head, bytes])),
      sendEnd: () => {},
      windowBytes: SESSION_WINDOW_BYTES[name],
    });
  }

  #ping(): void {
    if (!this.#isAlive) this.#socket.terminate();
    this.#isAlive = false;
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping();
  }
}

function bytesOf(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data);
  return Buffer.isBuffer(data) ? data : Buffer.from(data);
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid("expected JSON");
  }
}

function invalid(what: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", `session: ${what}`);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
