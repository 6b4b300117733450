import { type ErrorCode, isVmSubstrateError, throwIfAborted, VmSubstrateError } from "../core/index.ts";

/** What passes by itself: VMs are released, quarantines end, other programs give memory back. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  "INSUFFICIENT_MEMORY",
  "INSUFFICIENT_SHARED_MEMORY",
  "INSUFFICIENT_DESCRIPTORS",
  "LEASE_EXHAUSTED",
]);
/** Nobody tells us of memory that other programs give back. */
const LOOK_AGAIN_MS = 250;
const MAX_WAITING_CALLS = 1024;

interface Place {
  readonly onPosition: (position: number) => void;
  wake: () => void;
}

export interface WaitOptions {
  readonly wait: boolean;
  readonly signal: AbortSignal;
  /** Whether what is short is needed at all: a claim of clones that are ready takes nothing from those who wait. */
  readonly needsRoom: () => boolean;
  /** Told the caller's place whenever that changes, 1 for the next. */
  readonly onPosition: (position: number) => void;
}

/** Calls that wait for what is short, in the order in which they came: a small one does not overtake a large one. */
export class WaitingLine {
  readonly #line: Place[] = [];

  get length(): number {
    return this.#line.length;
  }

  /** Something was given back: the first in the line looks again. */
  notify(): void {
    this.#line[0]?.wake();
  }

  /**
   * Runs `attempt` when it is the caller's turn, again and again until it succeeds or fails for good.
   *
   * @throws VmSubstrateError what `attempt` throws; INSUFFICIENT_MEMORY at once for a call that does not wait while others do; ABORTED
   */
  async run<T>(attempt: () => Promise<T>, options: WaitOptions): Promise<T> {
    if (!options.wait) {
      if (this.#line.length > 0 && options.needsRoom()) throw othersWait(this.#line.length);
      return attempt();
    }
    if (this.#line.length === 0) {
      try {
        return await attempt();
      } catch (error) {
        if (!passes(error)) throw error;
      }
    }
    return this.#waitFor(attempt, options);
  }

  async #waitFor<T>(attempt: () => Promise<T>, { signal, onPosition }: WaitOptions): Promise<T> {
    if (this.#line.length >= MAX_WAITING_CALLS) throw othersWait(this.#line.length);
    const place: Place = { onPosition, wake: () => {} };
    onPosition(this.#line.push(place));
    try {
      for (;;) {
        throwIfAborted(signal, "wait for memory");
        if (this.#line[0] === place) {
          try {
            return await attempt();
          } catch (error) {
            if (!passes(error)) throw error;
          }
        }
        await this.#nextChange(place, signal);
      }
    } finally {
      this.#line.splice(this.#line.indexOf(place), 1);
      for (const [i, other] of this.#line.entries()) other.onPosition(i + 1);
      this.notify();
    }
  }

  #nextChange(place: Place, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        place.wake = () => {};
        resolve();
      };
      const timer = setTimeout(done, LOOK_AGAIN_MS);
      signal.addEventListener("abort", done, { once: true });
      place.wake = done;
    });
  }
}

export function isShortage(error: unknown): error is VmSubstrateError {
  return isVmSubstrateError(error) && PASSING.has(error.code);
}

function passes(error: unknown): boolean {
  if (!isShortage(error)) return false;
  // More addresses than there are in all: no release can serve that.
  const { needed, capacity } = error.details;
  return !(typeof needed === "number" && typeof capacity === "number" && needed > capacity);
}

function othersWait(count: number): VmSubstrateError {
  const message = `${count} calls wait for memory already; wait with them (wait: true), or call again later`;
  return new VmSubstrateError("INSUFFICIENT_MEMORY", message, { details: { waiting: count } });
}
