import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { type ErrorCode, isVmSubstrateError, messageOf, VmSubstrateError } from "../core/index.ts";
import { shownText } from "../qmp/index.ts";
import { processStartTime } from "./proc.ts";

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
]);

export interface ExitCause {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface SpawnOptions {
  readonly binary: string;
  readonly argv: readonly string[];
  /** QEMU's stdout and stderr. A file, not a pipe: QEMU must be able to outlive this process. */
  readonly logFile: string;
  /** Open descriptors handed to QEMU as 3, 4, ... */
  readonly inheritFds?: readonly number[];
}

/**
 * One QEMU process and the right to end it.
 *
 * It runs in a session of its own, so that a terminal's Ctrl-C reaches us and not it. Signals go through Node's child
 * handle, which knows whether the process was reaped: a reused PID is never hit.
 */
export class QemuProcess implements AsyncDisposable {
  readonly pid: number;
  /** Settles once, with why the process ended; never rejects. */
  readonly exited: Promise<ExitCause>;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  readonly #watchers = new Set<() => void>();
  #exit: ExitCause | undefined;
  /** The end of QEMU's log, once it has ended. */
  #lastWords: string | undefined;

  private constructor(child: ChildProcess, pid: number, exited: Promise<ExitCause>, logFile: string) {
    this.pid = pid;
    this.#child = child;
    this.#logFile = logFile;
    this.exited = exited;
    void exited.then((cause) => this.#onExit(cause));
  }

  /** @throws VmSubstrateError QEMU_MISSING */
  static async spawn(options: SpawnOptions): Promise<QemuProcess> {
    const log = await open(options.logFile, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600);
    try {
      const child = spawn(options.binary, options.argv, {
        stdio: ["ignore", log.fd, log.fd, ...(options.inheritFds ?? [])],
        detached: true,
      });
      // Attached before the first await: a process that ends at once must not go unnoticed.
      const exited = new Promise<ExitCause>((resolve) => {
        child.once("exit", (code, signal) => resolve({ code, signal }));
      });
      await new Promise<void>((resolve, reject) => {
        child.once("spawn", resolve);
        child.on("error", reject);
      });
      return new QemuProcess(child, child.pid as number, exited, options.logFile);
    } catch (cause) {
      throw new VmSubstrateError(
        "QEMU_MISSING",
        `QEMU executable "${options.binary}" cannot be started: ${messageOf(cause)}`,
        { cause },
      );
    } finally {
      await log.close();
    }
  }

  get exit(): ExitCause | undefined {
    return this.#exit;
  }

  startTime(): Promise<number | undefined> {
    return processStartTime(this.pid);
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
    if (this.#exit === undefined) this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  /** For a clone whose state nobody wants any more. Idempotent; resolves when the process is gone. */
  async kill(): Promise<ExitCause> {
    if (this.#exit === undefined) this.#child.kill("SIGKILL");
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
