import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type EventSource,
  Events,
  isVmSubstrateError,
  type Logger,
  messageOf,
  silentLogger,
  Turns,
  VmSubstrateError,
  withDeadline,
} from "../core/index.ts";
import { checkAnswer } from "./guest-agent-checks.ts";
import type { GuestAgentCommandName, GuestAgentCommands } from "./guest-agent-commands.ts";
import { BadJsonError, isJsonObject, type JsonObject, parseJsonObject } from "./json-line.ts";
import {
  DEFAULT_AGENT_COMMAND_TIMEOUT_MS,
  DEFAULT_MAX_LINE_BYTES,
  MAX_AGENT_DATA_LINE_BYTES,
  MAX_FILE_READ_BYTES,
  MAX_QUEUED_AGENT_COMMANDS,
  NO_REPLY_GRACE_MS,
} from "./limits.ts";
import { closedError, LineSocket } from "./line-socket.ts";
import type { NoArguments, QmpArguments } from "./qmp-commands.ts";
import { readError } from "./qmp-message.ts";
import { BadShapeError } from "./shape.ts";
import { shownText } from "./untrusted-text.ts";

export interface GuestAgentConnectOptions {
  /** Milliseconds for connecting to the socket. Default DEFAULT_CONNECT_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly logger?: Logger | undefined;
  /** Keep trying while the socket is not there, because QEMU is still starting. Default false. */
  readonly retryUntilPresent?: boolean | undefined;
}

export interface GuestAgentExecuteOptions {
  /** Milliseconds, waiting for earlier commands and a sync included. Default DEFAULT_AGENT_COMMAND_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Longest answer in bytes, at most MAX_AGENT_DATA_LINE_BYTES (8 MiB), which is the default of commands that return
   * data (guest-exec-status, guest-file-read). Of all others it is DEFAULT_MAX_LINE_BYTES (1 MiB).
   */
  readonly maxAnswerBytes?: number | undefined;
}

export interface GuestAgentClose {
  /** `eof` and `error`: QEMU or the kernel ended it. `line-too-long`: an answer without end. `local`: `close()`. */
  readonly reason: "eof" | "error" | "line-too-long" | "local";
  /** What commands still pending were rejected with: GUEST_AGENT_CLOSED or GUEST_AGENT_PROTOCOL. */
  readonly error: VmSubstrateError;
}

export type GuestAgentEvents = { close: [close: GuestAgentClose] };

/** Answers that carry what a program printed or a file held. */
const DATA_COMMANDS = new Set(["guest-exec-status", "guest-file-read"]);

/** Commands that answer only to report an error ("success-response": false). */
const SILENT_COMMANDS = new Set(["guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"]);

/** Resets the agent's parser, and marks the answer to a sync. No UTF-8 text contains it. */
const SENTINEL = 0xff;

type ArgumentsThen<Args, Options> = NoArguments extends Args
  ? [args?: Args | undefined, options?: Options]
  : [args: Args, options?: Options];

/**
 * A client of qemu-guest-agent on a virtio-serial port. Everything it answers is untrusted.
 *
 * The agent answers in order and its answers carry no dependable id, so commands run strictly one after the other, and
 * whenever an answer may still be under way (a new connection, a timeout, an abort, garbage) the next command first
 * synchronises by `guest-sync-delimited` with a random number.
 *
 * Source: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
 */
export class GuestAgent implements AsyncDisposable {
  readonly path: string;
  readonly events: EventSource<GuestAgentEvents>;
  readonly #emitter = new Events<GuestAgentEvents>();
  readonly #socket: LineSocket;
  readonly #logger: Logger;
  readonly #turns = new Turns();
  /** Whoever has the turn and waits for lines. */
  #reader: { readonly onLine: (line: Buffer) => void; readonly reject: (error: unknown) => void } | undefined;
  #needsSync = true;
  #close: GuestAgentClose | undefined;

  private constructor(socket: LineSocket, logger: Logger) {
    this.path = socket.path;
    this.events = this.#emitter;
    this.#socket = socket;
    this.#logger = logger;
    socket.onClose((cause) => {
      const code = cause.reason === "line-too-long" ? "GUEST_AGENT_PROTOCOL" : "GUEST_AGENT_CLOSED";
      this.#end({ reason: cause.reason, error: closedError(code, this.path, cause) });
    });
    socket.onLine((line) => this.#read(line));
  }

  /**
   * Connects to the socket and no more, because the guest may be paused or still booting.
   *
   * @throws VmSubstrateError GUEST_AGENT_CLOSED when nobody listens there in time, PATH_TOO_LONG, INVALID_ARGUMENT, ABORTED
   */
  static async connect(path: string, options: GuestAgentConnectOptions = {}): Promise<GuestAgent> {
    const socket = await LineSocket.connect(path, {
      ...options,
      maxLineBytes: DEFAULT_MAX_LINE_BYTES,
      codes: { connect: "GUEST_AGENT_CLOSED", closed: "GUEST_AGENT_CLOSED" },
    });
    return new GuestAgent(socket, options.logger ?? silentLogger);
  }

  /** How the channel ended; undefined while it is open. */
  get closeCause(): GuestAgentClose | undefined {
    return this.#close;
  }

  /** Whether the next command will synchronise first. */
  get needsSync(): boolean {
    return this.#needsSync;
  }

  /**
   * Makes sure that the agent is there and that the next answer belongs to the next command.
   *
   * @throws VmSubstrateError GUEST_AGENT_TIMEOUT, GUEST_AGENT_CLOSED, GUEST_AGENT_PROTOCOL, ABORTED
   */
  async sync(options: Omit<GuestAgentExecuteOptions, "maxAnswerBytes"> = {}): Promise<void> {
    await this.#inTurn("guest-sync-delimited", options, (signal) => this.#synchronise(signal));
  }

  /**
   * Runs a command and gives what its `return` carries, without prototypes. Answers of the typed commands are checked;
   * those of any other are whatever the guest sent.
   *
   * After GUEST_AGENT_TIMEOUT, ABORTED or GUEST_AGENT_PROTOCOL the channel can be used on, unless the answer was too
   * long, which closes it.
   *
   * @throws VmSubstrateError GUEST_COMMAND_FAILED with `details: { command, class, desc }`, GUEST_AGENT_TIMEOUT,
   *   GUEST_AGENT_CLOSED, GUEST_AGENT_PROTOCOL, ABORTED, or INVALID_ARGUMENT (not serialisable, a `count` beyond
   *   MAX_FILE_READ_BYTES, too many commands waiting)
   */
  execute<Name extends GuestAgentCommandName>(
    command: Name,
    ...rest: ArgumentsThen<GuestAgentCommands[Name]["args"], GuestAgentExecuteOptions>
  ): Promise<GuestAgentCommands[Name]["result"]>;
  execute<Result = unknown, Name extends string = string>(
    command: Name extends GuestAgentCommandName ? never : Name,
    args?: QmpArguments,
    options?: GuestAgentExecuteOptions,
  ): Promise<Result>;
  async execute(command: string, args: QmpArguments = {}, options: GuestAgentExecuteOptions = {}): Promise<unknown> {
    const line = serialise(command, args);
    const cap = Math.min(
      options.maxAnswerBytes ?? (DATA_COMMANDS.has(command) ? MAX_AGENT_DATA_LINE_BYTES : DEFAULT_MAX_LINE_BYTES),
      MAX_AGENT_DATA_LINE_BYTES,
    );
    return this.#inTurn(command, options, async (signal) => {
      if (this.#needsSync) await this.#synchronise(signal);
      if (SILENT_COMMANDS.has(command)) return this.#exchangeSilently(command, line, signal);
      const answer = await this.#exchange(line, cap, signal);
      return this.#understand(command, args, answer);
    });
  }

  /** Ends the connection; the guest is not told. Pending commands are rejected with GUEST_AGENT_CLOSED. Safe to call again. */
  async close(): Promise<void> {
    await this.#socket.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #inTurn<T>(
    command: string,
    options: GuestAgentExecuteOptions,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (this.#turns.waiting >= MAX_QUEUED_AGENT_COMMANDS) {
      throw new VmSubstrateError(
        "INVALID_ARGUMENT",
        `${shownText(command)}: ${MAX_QUEUED_AGENT_COMMANDS} commands are already waiting for the guest agent; await them first`,
      );
    }
    return withDeadline(
      {
        what: `guest agent command ${shownText(command)}`,
        timeoutMs: options.timeoutMs ?? DEFAULT_AGENT_COMMAND_TIMEOUT_MS,
        signal: options.signal,
        timeoutCode: "GUEST_AGENT_TIMEOUT",
      },
      async (signal) => {
        const endTurn = await this.#turns.take(signal);
        try {
          signal.throwIfAborted();
          return await work(signal);
        } finally {
          endTurn();
        }
      },
    );
  }

  async #synchronise(signal: AbortSignal): Promise<void> {
    const id = randomSyncId();
    this.#needsSync = true;
    const request = Buffer.from(serialise("guest-sync-delimited", { id }));
    // Whatever is ignored here may be the answer to a command that returns data.
    await this.#converse<void>(
      Buffer.concat([Buffer.of(SENTINEL), request]),
      MAX_AGENT_DATA_LINE_BYTES,
      signal,
      (line, done) => {
        if (isSyncAnswer(line, id)) done();
      },
    );
    this.#needsSync = false;
  }

  #exchange(line: string, cap: number, signal: AbortSignal): Promise<Buffer> {
    return this.#converse<Buffer>(line, cap, signal, (answer, done) => done(answer));
  }

  async #exchangeSilently(command: string, line: string, signal: AbortSignal): Promise<unknown> {
    // Whether it answers is not known, so in every case the next command synchronises.
    const patience = new AbortController();
    const merged = AbortSignal.any([signal, patience.signal]);
    const answer = this.#exchange(line, DEFAULT_MAX_LINE_BYTES, merged).catch((error: unknown) => {
      if (patience.signal.aborted || isVmSubstrateError(error, "GUEST_AGENT_CLOSED")) return undefined;
      throw error;
    });
    try {
      const grace = sleep(NO_REPLY_GRACE_MS, undefined, { signal: merged }).catch(() => undefined);
      const first = await Promise.race([answer, grace]);
      signal.throwIfAborted();
      return first === undefined ? Object.create(null) : this.#understand(command, {}, first);
    } finally {
      patience.abort();
      this.#needsSync = true;
    }
  }

  /** Sends a request and gives each line to `onLine` until that calls `done`. Whoever calls it has the turn. */
  async #converse<T>(
    request: string | Uint8Array,
    cap: number,
    signal: AbortSignal,
    onLine: (line: Buffer, done: (value: T) => void) => void,
  ): Promise<T> {
    if (this.#close) throw this.#close.error;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    promise.catch(() => {});
    // An answer may still come, and would be taken for that of the next command.
    const onAbort = () => {
      this.#needsSync = true;
      reject(signal.reason);
    };
    signal.throwIfAborted();
    signal.addEventListener("abort", onAbort, { once: true });
    const done = (value: T) => {
      // Later lines of the same chunk find nobody waiting.
      this.#stopReading();
      resolve(value);
    };
    this.#reader = { onLine: (line) => onLine(line, done), reject };
    this.#socket.maxLineBytes = cap;
    try {
      this.#socket.write(request).catch(reject);
      return await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#stopReading();
    }
  }

  #stopReading(): void {
    this.#reader = undefined;
  }

  #read(line: Buffer): void {
    if (this.#reader) {
      this.#reader.onLine(line);
      return;
    }
    // A second answer, one that comes too late, or one that nobody asked for.
    this.#needsSync = true;
    this.#logger.debug({ path: this.path, lineBytes: line.length }, "guest agent spoke out of turn; will synchronise");
  }

  #understand(command: string, args: QmpArguments, line: Buffer): unknown {
    try {
      const answer = parseJsonObject(line);
      if ("error" in answer) throw commandFailed(command, answer);
      if (!("return" in answer)) throw new BadJsonError("an object that is neither return nor error");
      return checkAnswer(command, args, answer.return);
    } catch (error) {
      if (!(error instanceof BadJsonError) && !(error instanceof BadShapeError)) throw error;
      this.#needsSync = true;
      throw new VmSubstrateError(
        "GUEST_AGENT_PROTOCOL",
        `${shownText(command)}: unusable answer of the guest agent: ${messageOf(error)}`,
        { cause: error, details: { command, path: this.path, lineBytes: line.length } },
      );
    }
  }

  /** The only place where whoever waits is settled; the first cause wins. Those waiting for a turn find it closed. */
  #end(close: GuestAgentClose): void {
    if (this.#close) return;
    this.#close = close;
    this.#reader?.reject(close.error);
    this.#stopReading();
    try {
      this.#emitter.emit("close", close);
    } catch (error) {
      this.#logger.error({ path: this.path, err: error }, "a listener of a guest agent's close threw");
    }
  }
}

/** 53 bits: what a JavaScript number, and so every JSON parser, holds exactly. */
function randomSyncId(): number {
  return Number(randomBytes(8).readBigUInt64BE() >> 11n);
}

/** The sentinel ends whatever was under way, so what counts is behind the last one. */
function isSyncAnswer(line: Buffer, id: number): boolean {
  const sentinel = line.lastIndexOf(SENTINEL);
  if (sentinel === -1) return false;
  try {
    return parseJsonObject(line.subarray(sentinel + 1)).return === id;
  } catch {
    return false;
  }
}

/** @throws BadJsonError when the error has no class and text */
function commandFailed(command: string, answer: JsonObject): VmSubstrateError {
  const { errorClass, desc } = readError(answer.error);
  const details = { command, class: shownText(errorClass), desc: shownText(desc) };
  return new VmSubstrateError("GUEST_COMMAND_FAILED", `${shownText(command)}: ${details.class}: ${details.desc}`, {
    details,
  });
}

function serialise(command: string, args: QmpArguments): string {
  const { count } = args;
  if (command === "guest-file-read" && typeof count === "number" && count > MAX_FILE_READ_BYTES) {
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `guest-file-read: count may be ${MAX_FILE_READ_BYTES} at most, got ${count}; read in pieces`,
    );
  }
  try {
    if (!isJsonObject(args)) throw new TypeError("not an object");
    return `${JSON.stringify({ execute: command, arguments: args })}\n`;
  } catch (error) {
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `${shownText(command)}: the arguments are not JSON: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
}
