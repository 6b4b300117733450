import type { ForkOrder } from "./fork-server-protocol.ts";
import { type ExitCause, type ProcessHandle, watchProcess } from "./process-handle.ts";

/** The parent of a forked process: it alone reaps it, and so it alone can send a signal that cannot hit another process. */
export interface ProcessParent {
  signal(pid: number, signal: NodeJS.Signals): void;
  /** @returns undefined when the parent has ended */
  fork(pid: number, order: ForkOrder): Promise<ForkedProcess | undefined>;
  /** Nobody waits for this child any more. */
  release(child: ForkedProcess): void;
}

/** A child of a fork server. It outlives its parent, and is then watched by its PID and start time. */
export class ForkedProcess implements ProcessHandle {
  readonly pid: number;
  readonly exited: Promise<ExitCause>;
  readonly #settle: (cause: ExitCause) => void;
  readonly #startTime: number | undefined;
  #parent: ProcessParent | undefined;
  #adopted: ProcessHandle | undefined;
  #isDetached = false;
  #lastSignal: NodeJS.Signals | undefined;

  /** @param startTime undefined when it has ended already */
  constructor(pid: number, startTime: number | undefined, parent: ProcessParent) {
    const { promise, resolve } = Promise.withResolvers<ExitCause>();
    this.pid = pid;
    this.exited = promise;
    this.#settle = resolve;
    this.#startTime = startTime;
    this.#parent = parent;
  }

  signal(signal: NodeJS.Signals): void {
    this.#lastSignal = signal;
    if (this.#parent === undefined) this.#adopted?.signal(signal);
    else this.#parent.signal(this.pid, signal);
  }

  /**
   * A copy of it, if it was started as a zygote.
   * @returns undefined when there is nobody any more who could make one
   * @throws VmSubstrateError INVALID_ARGUMENT; the system's error
   */
  async fork(order: ForkOrder): Promise<ForkedProcess | undefined> {
    return this.#parent?.fork(this.pid, order);
  }

  detach(): void {
    this.#isDetached = true;
    this.#parent?.release(this);
    this.#adopted?.detach();
  }

  /** The parent has reaped it. */
  reaped(cause: ExitCause): void {
    this.#parent = undefined;
    this.#settle(cause);
  }

  /** The parent has ended without having reaped it. */
  orphaned(): void {
    this.#parent = undefined;
    if (this.#startTime === undefined) {
      this.#settle({ code: null, signal: null });
      return;
    }
    this.#adopted = watchProcess({ pid: this.pid, startTime: this.#startTime });
    // Nobody tells why a process of others ended: it may be the signal that the parent has still sent.
    void this.#adopted.exited.then(() => this.#settle({ code: null, signal: this.#lastSignal ?? null }));
    // The parent may have ended before it sent it.
    if (this.#lastSignal !== undefined) this.#adopted.signal(this.#lastSignal);
    if (this.#isDetached) this.#adopted.detach();
  }
}
