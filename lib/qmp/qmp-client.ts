import { setTimeout as sleep } from "node:timers/promises";
import {
  type EventSource,
  Events,
  isVmSubstrateError,
  type Logger,
  messageOf,
  silentLogger,
  VmSubstrateError,
  withDeadline,
} from "../core/index.ts";
import { EventWaiters } from "./event-waiters.ts";
import { BadJsonError, parseJsonObject } from "./json-line.ts";
import {
  CONNECT_RETRY_INTERVAL_MS,
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_EVENT_TIMEOUT_MS,
  DEFAULT_QMP_COMMAND_TIMEOUT_MS,
  MAX_GREETINGS,
  MAX_PENDING_COMMANDS,
  STARTING_ANSWER_TIMEOUT_MS,
} from "./limits.ts";
import { closedError, LineSocket } from "./line-socket.ts";
import { PendingCommands } from "./pending-commands.ts";
import type { QmpArguments, QmpCommandName, QmpCommands } from "./qmp-commands.ts";
import type { QmpEvent, QmpEventName, QmpEvents } from "./qmp-events.ts";
import { type QmpGreeting, readQmpMessage } from "./qmp-message.ts";
import type {
  QmpClientEvents,
  QmpClose,
  QmpConnectOptions,
  QmpExecuteOptions,
  WaitForEventOptions,
} from "./qmp-options.ts";
import { shownText } from "./untrusted-text.ts";

/** Events of ours, which a peer must not be able to forge by sending one of that name. */
const OWN_EVENTS = new Set(["event", "close"]);

/** Until QEMU has greeted, which is before `connect` hands the client out. */
const NOT_GREETED: QmpGreeting = { version: { qemu: { major: 0, minor: 0, micro: 0 }, package: "" }, capabilities: [] };

type ArgumentsThen<Args, Options> =
  Record<string, never> extends Args ? [args?: Args | undefined, options?: Options] : [args: Args, options?: Options];

/**
 * A QMP connection to one QEMU, past its greeting and negotiation.
 *
 * Commands run concurrently and are matched by id. When the connection ends, every pending promise is rejected once and
 * `close` is emitted once. Whoever can write to a QMP socket can run code as QEMU's user: keep it in a directory of
 * mode 0700.
 *
 * Source: https://www.qemu.org/docs/master/interop/qmp-spec.html
 */
export class QmpClient implements AsyncDisposable {
  readonly path: string;
  /** Everything that QEMU announces. A listener that throws is logged and does not disturb the connection. */
  readonly events: EventSource<QmpClientEvents>;
  readonly #emitter = new Events<QmpClientEvents>();
  readonly #socket: LineSocket;
  readonly #logger: Logger;
  readonly #pending = new PendingCommands();
  readonly #waiters = new EventWaiters();
  readonly #greeted = Promise.withResolvers<QmpGreeting>();
  #greeting = NOT_GREETED;
  #greetings = 0;
  #negotiating = false;
  #negotiated = false;
  #oob = false;
  #close: QmpClose | undefined;

  private constructor(socket: LineSocket, logger: Logger) {
    this.path = socket.path;
    this.events = this.#emitter;
    this.#socket = socket;
    this.#logger = logger;
    this.#greeted.promise.catch(() => {});
    socket.onClose((cause) => {
      const code = cause.reason === "line-too-long" ? "QMP_PROTOCOL" : "QMP_CLOSED";
      const error = closedError(code, this.path, cause);
      this.#end({ reason: cause.reason === "line-too-long" ? "protocol" : cause.reason, error });
    });
    socket.onLine((line) => this.#read(line));
  }

  /**
   * Connects, waits for the greeting and negotiates capabilities (`oob` where QEMU offers it).
   *
   * QEMU serves one client per monitor: while another is connected, connecting succeeds and no greeting comes.
   *
   * @throws VmSubstrateError QMP_CONNECT (unreachable, no greeting in time, ended or refused before it was ready),
   *   QMP_PROTOCOL, PATH_TOO_LONG, INVALID_ARGUMENT, ABORTED
   */
  static async connect(path: string, options: QmpConnectOptions = {}): Promise<QmpClient> {
    const timeoutMs = options.timeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    let client: QmpClient | undefined;
    try {
      return await withDeadline(
        {
          what: `QMP connection to ${path}, which must greet and negotiate`,
          timeoutMs,
          signal: options.signal,
          timeoutCode: "QMP_CONNECT",
        },
        async (signal) => {
          for (;;) {
            const socket = await LineSocket.connect(path, { ...options, timeoutMs, signal });
            client = new QmpClient(socket, options.logger ?? silentLogger);
            try {
              await client.#negotiate(options.retryUntilPresent ? STARTING_ANSWER_TIMEOUT_MS : timeoutMs, signal);
              // Two threads of QEMU serve a connection that was greeted twice, and tear apart what they read from it.
              if (client.#greetings === 1 || !options.retryUntilPresent) return client;
            } catch (error) {
              if (!options.retryUntilPresent || !isStarting(error)) throw error;
            }
            await client.close();
            await sleep(CONNECT_RETRY_INTERVAL_MS, undefined, { signal });
          }
        },
      );
    } catch (error) {
      await client?.close();
      if (isVmSubstrateError(error) && !DURING_HANDSHAKE.has(error.code)) throw error;
      throw new VmSubstrateError("QMP_CONNECT", `QMP handshake on ${path}: ${messageOf(error)}`, {
        cause: error,
        details: { path },
      });
    }
  }

  /** QEMU's version and the capabilities it offers. */
  get greeting(): QmpGreeting {
    return this.#greeting;
  }

  /** Whether commands may run out of band. */
  get oobAvailable(): boolean {
    return this.#oob;
  }

  /** How the connection ended; undefined while it is open. */
  get closeCause(): QmpClose | undefined {
    return this.#close;
  }

  /**
   * Runs a command and gives what its `return` carries. Results of the typed commands are QEMU's word: they are not
   * validated. Objects in them have no prototype.
   *
   * @throws VmSubstrateError QMP_COMMAND_FAILED with `details: { command, class, desc }`, TIMEOUT, ABORTED, QMP_CLOSED,
   *   QMP_PROTOCOL, or INVALID_ARGUMENT (not serialisable, `oob` not offered, too many commands pending)
   */
  execute<Name extends QmpCommandName>(
    command: Name,
    ...rest: ArgumentsThen<QmpCommands[Name]["args"], QmpExecuteOptions>
  ): Promise<QmpCommands[Name]["result"]>;
  execute<Result = unknown, Name extends string = string>(
    command: Name extends QmpCommandName ? never : Name,
    args?: QmpArguments,
    options?: QmpExecuteOptions,
  ): Promise<Result>;
  async execute(command: string, args?: QmpArguments, options: QmpExecuteOptions = {}): Promise<unknown> {
    if (this.#close) throw this.#close.error;
    this.#refuseUnsendable(command, options);
    const { id, reply } = this.#pending.add(command);
    try {
      const line = serialise({ [options.oob ? "exec-oob" : "execute"]: command, arguments: args, id });
      return await withDeadline(
        {
          what: `QMP command ${shownText(command)}`,
          timeoutMs: options.timeoutMs ?? DEFAULT_QMP_COMMAND_TIMEOUT_MS,
          signal: options.signal,
        },
        () => {
          this.#socket.write(line).catch((error: unknown) => this.#pending.reject(id, error));
          return reply;
        },
      );
    } finally {
      this.#pending.abandon(id);
    }
  }

  /**
   * The next event of that name. The listener is in place when this returns, so call it before the command that
   * causes the event and await it afterwards.
   *
   * @throws VmSubstrateError TIMEOUT, ABORTED, QMP_CLOSED, QMP_PROTOCOL, or whatever `where` throws
   */
  waitForEvent<Name extends QmpEventName>(
    name: Name,
    options?: WaitForEventOptions<QmpEvents[Name]>,
  ): Promise<QmpEvent<QmpEvents[Name]>>;
  waitForEvent<Data = Readonly<Record<string, unknown>>, Name extends string = string>(
    name: Name extends QmpEventName ? never : Name,
    options?: WaitForEventOptions<Data>,
  ): Promise<QmpEvent<Data>>;
  async waitForEvent(name: string, options: WaitForEventOptions<never> = {}): Promise<QmpEvent> {
    if (this.#close) throw this.#close.error;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the overloads tie the name to the type of its data
    const waiter = this.#waiters.add(name, options.where as ((event: QmpEvent) => boolean) | undefined);
    try {
      return await withDeadline(
        {
          what: `QMP event ${shownText(name)}`,
          timeoutMs: options.timeoutMs ?? DEFAULT_EVENT_TIMEOUT_MS,
          signal: options.signal,
        },
        () => waiter.promise,
      );
    } finally {
      this.#waiters.remove(waiter);
    }
  }

  /** Ends the connection; QEMU goes on. Pending promises are rejected with QMP_CLOSED. Safe to call again. */
  async close(): Promise<void> {
    await this.#socket.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #negotiate(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const greeting = await this.#greeted.promise;
    this.#negotiating = true;
    await this.execute("qmp_capabilities", capabilitiesOf(greeting), { timeoutMs, signal });
    this.#oob = greeting.capabilities.includes("oob");
    this.#negotiated = true;
  }

  #read(line: Buffer): void {
    try {
      const message = readQmpMessage(parseJsonObject(line));
      switch (message.kind) {
        case "greeting":
          this.#greet(message.greeting);
          break;
        case "event":
          // Also before the greeting, where QEMU kept it back for whoever connects next.
          this.#announce(message.event);
          break;
        case "return":
          if (!this.#isForEarlierClient(message.id)) this.#pending.resolve(message.id, message.value);
          break;
        case "error":
          if (!this.#isForEarlierClient(message.id)) {
            this.#pending.fail(message.id, message.errorClass, message.desc);
          }
      }
    } catch (error) {
      this.#breakOff(line, error);
    }
  }

  /**
   * A QEMU that is connected to in the moment it starts may greet twice: its main thread and its monitor thread both
   * see the connection open. Each greeting takes it back to negotiation, so one that comes after ours has been sent is
   * answered again. The answer to the first is a success in every order of events; that to the second need not be, and
   * does not matter.
   */
  #greet(greeting: QmpGreeting): void {
    this.#greetings++;
    if (this.#greetings > MAX_GREETINGS) throw new BadJsonError("one greeting too many");
    if (this.#greetings > 1) {
      this.#logger.debug({ path: this.path }, "QEMU greeted again");
      if (this.#negotiating) this.execute("qmp_capabilities", capabilitiesOf(greeting)).catch(() => {});
      return;
    }
    this.#greeting = greeting;
    this.#greeted.resolve(greeting);
  }

  /**
   * A command that the previous client of this monitor left running is answered to us, but before our negotiation:
   * QEMU runs commands one after the other.
   */
  #isForEarlierClient(id: unknown): boolean {
    return !this.#negotiated && !this.#pending.isOurs(id);
  }

  #announce(event: QmpEvent): void {
    this.#waiters.announce(event);
    this.#emit("event", event);
    if (!OWN_EVENTS.has(event.name)) this.#emit(event.name, event);
  }

  #emit(name: string, argument: QmpEvent | QmpClose): void {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the name of an event is whatever QEMU sent
    const emitter = this.#emitter as unknown as Events<Record<string, unknown[]>>;
    try {
      emitter.emit(name, argument);
    } catch (error) {
      this.#logger.error({ path: this.path, event: shownText(name), err: error }, "a listener of a QMP event threw");
    }
  }

  #breakOff(line: Buffer, error: unknown): void {
    const start = shownText(line.subarray(0, 100).toString("latin1"));
    this.#logger.warn({ path: this.path, line: start }, "QMP peer broke the protocol; disconnecting");
    this.#end({
      reason: "protocol",
      error: new VmSubstrateError(
        "QMP_PROTOCOL",
        `${this.path}: expected a QMP message, got ${messageOf(error)}: ${start}; disconnected`,
        { cause: error, details: { path: this.path, lineBytes: line.length } },
      ),
    });
  }

  /** The only place where everything that still waits is settled; the first cause wins. */
  #end(close: QmpClose): void {
    if (this.#close) return;
    this.#close = close;
    this.#socket.close().catch(() => {});
    this.#greeted.reject(close.error);
    this.#pending.rejectAll(close.error);
    this.#waiters.rejectAll(close.error);
    this.#emit("close", close);
  }

  #refuseUnsendable(command: string, options: QmpExecuteOptions): void {
    if (options.oob && !this.#oob) {
      throw new VmSubstrateError("INVALID_ARGUMENT", `${command}: this monitor does not offer out-of-band execution`);
    }
    if (this.#pending.size >= MAX_PENDING_COMMANDS) {
      throw new VmSubstrateError(
        "INVALID_ARGUMENT",
        `${command}: ${MAX_PENDING_COMMANDS} commands are already waiting for an answer of ${this.path}; await them first`,
      );
    }
  }
}

/** Codes that, during the handshake, only say that it failed; the others say more than QMP_CONNECT would. */
const DURING_HANDSHAKE: ReadonlySet<string> = new Set(["QMP_CLOSED", "QMP_COMMAND_FAILED", "TIMEOUT"]);

/**
 * Connected to in the moment when its main loop begins, QEMU (7.2) may take the connection in its monitor thread, which
 * greets, while its main thread hangs in a blocking accept(2) for that same connection and answers nothing. The next
 * connection wakes it, and is dropped; the one after that works.
 */
function isStarting(error: unknown): boolean {
  return isVmSubstrateError(error, "TIMEOUT") || isVmSubstrateError(error, "QMP_CLOSED");
}

function capabilitiesOf(greeting: QmpGreeting): QmpArguments | undefined {
  return greeting.capabilities.includes("oob") ? { enable: ["oob"] } : undefined;
}

function serialise(message: Readonly<Record<string, unknown>>): string {
  try {
    return `${JSON.stringify(message)}\n`;
  } catch (error) {
    throw new VmSubstrateError("INVALID_ARGUMENT", `the arguments are not JSON: ${messageOf(error)}`, { cause: error });
  }
}
