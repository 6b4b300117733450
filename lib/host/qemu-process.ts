import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { type ErrorCode, isVmSubstrateError, messageOf, VmSubstrateError } from "../core/index.ts";
import { shownText } from "../qmp/index.ts";
import type { ForkServer } from "./fork-server.ts";
import type { ForkOrder } from "./fork-server-protocol.ts";
import { ForkedProcess } from "./forked-process.ts";
import { processStartTime } from "./proc.ts";
import {
  adoptProcess,
  type ExitCause,
  type ProcessHandle,
  type ProcessName,
  type SpawnRequest,
  spawnProcess,
  type VmPlace,
} from "./process-handle.ts";

/** Between SIGTERM, on which QEMU flushes its images, and SIGKILL. */
const TERMINATION_GRACE_MS = 2000;
const STDERR_TAIL_BYTES = 4096;
/** From a socket's end to the news that its process ended. */
const EXIT_NOTICE_MS = 250;
const CHANNEL_ENDED: ReadonlySet<ErrorCode> = new Set([
  "QMP_CONNECT",
  "QMP_CLOSED",
  "GUEST_AGENT_CLOSED",
  "GUEST_HELPER_FAILED",
  "SESSION_FAILED",
]);

export interface SpawnOptions extends SpawnRequest {
  /** Starts the process cheaply where it can; without one it is a child of ours. */
  readonly forkServer?: ForkServer | undefined;
}

/**
 * One QEMU process and the right to end it: a child of ours, or one that an earlier owner started and left behind.
 *
 * It runs in a session of its own, so that a terminal's Ctrl-C reaches us and not it.
 */
export class QemuProcess implements AsyncDisposable {
  readonly pid: number;
  /** Settles once, with why the process ended; never rejects. */
  readonly exited: Promise<ExitCause>;
  readonly #handle: ProcessHandle;
  readonly #logFile: string;
  readonly #watchers = new Set<() => void>();
  #exit: ExitCause | undefined;
  #startTime: number | undefined;
  /** The end of QEMU's log, once it has ended. */
  #lastWords: string | undefined;

  private constructor(handle: ProcessHandle, logFile: string) {
    this.pid = handle.pid;
    this.exited = handle.exited;
    this.#handle = handle;
    this.#logFile = logFile;
    void this.exited.then((cause) => this.#onExit(cause));
  }

  /** @throws VmSubstrateError QEMU_MISSING, HOST_IO_FAILED, INVALID_ARGUMENT for more arguments than a fork server takes */
  static async spawn({ forkServer, ...request }: SpawnOptions): Promise<QemuProcess> {
    try {
      const handle = await (forkServer === undefined ? spawnProcess(request) : forkServer.spawn(request));
      return new QemuProcess(handle, request.logFile);
    } catch (cause) {
      if (isVmSubstrateError(cause)) throw cause;
      throw notStarted(request.binary, cause);
    }
  }

  /** As `spawn`, of a process that can `fork`. @returns undefined where there is no fork server */
  static async spawnZygote(request: SpawnRequest, place: VmPlace, forkServer: ForkServer) {
    const handle = await forkServer.spawnZygote(request, place).catch((cause: unknown) => {
      throw isVmSubstrateError(cause) ? cause : notStarted(request.binary, cause);
    });
    return handle && new QemuProcess(handle, request.logFile);
  }

  /**
   * A copy of a zygote as it is at this moment.
   * @returns undefined where that cannot be made
   * @throws VmSubstrateError INVALID_ARGUMENT; the system's error
   */
  async fork(order: ForkOrder): Promise<QemuProcess | undefined> {
    const handle = this.#handle instanceof ForkedProcess ? await this.#handle.fork(order) : undefined;
    return handle && new QemuProcess(handle, order.logFile);
  }

  /** A process that another owner of the same state directory has started. @returns undefined when it has ended */
  static async adopt(name: ProcessName, logFile: string): Promise<QemuProcess | undefined> {
    const handle = await adoptProcess(name);
    return handle && new QemuProcess(handle, logFile);
  }

  get exit(): ExitCause | undefined {
    return this.#exit;
  }

  startTime(): Promise<number | undefined> {
    return processStartTime(this.pid);
  }

  /** What a later owner knows the process by; undefined when it has ended. */
  async name(): Promise<ProcessName | undefined> {
    this.#startTime ??= await this.startTime();
    return this.#startTime === undefined ? undefined : { pid: this.pid, startTime: this.#startTime };
  }

  /** The last of what QEMU wrote, for error messages. */
  async stderrTail(): Promise<string> {
    let log: FileHandle | undefined;
    try {
      log = await open(this.#logFile);
      const { size } = await log.stat();
      const start = Math.max(0, size - STDERR_TAIL_BYTES);
      const { buffer, bytesRead } = await log.read(Buffer.alloc(STDERR_TAIL_BYTES), 0, STDERR_TAIL_BYTES, start);
      return buffer.toString("utf8", 0, bytesRead).trim();
    } catch {
      return "";
    } finally {
      await log?.close();
    }
  }

  /**
   * Awaits work that needs QEMU alive. When QEMU ends, that is the error, rather than the closed channel or the deadline
   * that its end leads to.
   *
   * @throws VmSubstrateError QEMU_EXITED, or what `work` throws
   */
  async guard<T>(during: string, work: Promise<T>): Promise<T> {
    work.catch(() => {});
    const { promise: ended, reject } = Promise.withResolvers<never>();
    ended.catch(() => {});
    const watcher = () => reject(this.#exitError(during));
    if (this.#lastWords === undefined) this.#watchers.add(watcher);
    else watcher();
    try {
      return await Promise.race([work, ended]);
    } catch (error) {
      // A socket's end is seen before its process's.
      if (isVmSubstrateError(error) && CHANNEL_ENDED.has(error.code)) {
        await Promise.race([ended, delay(EXIT_NOTICE_MS, undefined, { ref: false })]);
      }
      throw error;
    } finally {
      this.#watchers.delete(watcher);
    }
  }

  /** The log is read once, however many wait: their number must not become a number of open files. */
  async #onExit(cause: ExitCause): Promise<void> {
    this.#exit = cause;
    this.#lastWords = await this.stderrTail();
    for (const watcher of this.#watchers) watcher();
  }

  #exitError(during: string): VmSubstrateError {
    const how = this.#exit?.signal ?? `status ${this.#exit?.code}`;
    const said = this.#lastWords ? shownText(this.#lastWords) : "(it wrote nothing)";
    return new VmSubstrateError("QEMU_EXITED", `QEMU ended with ${how} during ${during}: ${said}`, {
      details: { ...this.#exit, during },
    });
  }

  /** SIGTERM, then SIGKILL after a grace period. Idempotent; resolves when the process is gone. */
  async terminate(graceMs = TERMINATION_GRACE_MS): Promise<ExitCause> {
    if (this.#exit === undefined) this.#handle.signal("SIGTERM");
    const timer = setTimeout(() => this.#handle.signal("SIGKILL"), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  /** For a clone whose state nobody wants any more. Idempotent; resolves when the process is gone. */
  async kill(): Promise<ExitCause> {
    if (this.#exit === undefined) this.#handle.signal("SIGKILL");
    return this.exited;
  }

  /** Leaves it to the next owner: it runs on, and nothing here waits for its end any more. */
  detach(): void {
    this.#handle.detach();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** What the kernel says where there may be no further process or memory for one: the executable is as it should be. */
const NO_ROOM: readonly unknown[] = ["EAGAIN", "ENOMEM"];

function notStarted(binary: string, cause: unknown): VmSubstrateError {
  const message = `QEMU executable "${binary}" cannot be started: ${messageOf(cause)}`;
  if (!(cause instanceof Error && "code" in cause && NO_ROOM.includes(cause.code))) {
    return new VmSubstrateError("QEMU_MISSING", message, { cause });
  }
  const hint = "this user may have no more processes, or the machine has no memory for one (ulimit -u, pids.max)";
  return new VmSubstrateError("HOST_IO_FAILED", `${message}: ${hint}`, { cause, details: { errno: cause.code } });
}
