import { isVmSubstrateError, throwIfAborted, VmSubstrateError } from "../core/index.ts";

/** The calls of a pool that are under way. Closing ends them, and waits for them. */
export class Calls {
  readonly #closing = new AbortController();
  readonly #underWay = new Set<Promise<unknown>>();

  /** Fires when the pool closes. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /**
   * Runs a call with a signal that fires for the caller's and for the pool's end.
   * @throws VmSubstrateError POOL_CLOSED, ABORTED, whatever `work` throws
   */
  async run<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.requireOpen();
    const both = signal === undefined ? this.closing : AbortSignal.any([signal, this.closing]);
    throwIfAborted(both, "call");
    const call = work(both);
    this.#underWay.add(call);
    try {
      return await call;
    } catch (error) {
      // Node's own functions reject with the signal's reason as it came, whatever that was.
      if (!isVmSubstrateError(error)) throwIfAborted(both, "call");
      throw error;
    } finally {
      this.#underWay.delete(call);
    }
  }

  /** @throws VmSubstrateError POOL_CLOSED */
  requireOpen(): void {
    if (this.closing.aborted) throw new VmSubstrateError("POOL_CLOSED", "the pool is closed; open it again");
  }

  async close(): Promise<void> {
    this.#closing.abort(new VmSubstrateError("POOL_CLOSED", "the pool was closed meanwhile"));
    await Promise.allSettled(this.#underWay);
  }
}
