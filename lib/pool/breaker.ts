/** The pause after a failed start, doubled with each further failure in a row, and jittered. */
const BACKOFF_FIRST_MS = 250;
const BACKOFF_MAX_MS = 30_000;
/** So many failures in a row are no accident: from then on one start at a time tries whether it has passed. */
const BREAKER_FAILURES = 5;

/** `open`: starts fail, and the next waits. `half-open`: one tries. */
export type BreakerState = "closed" | "open" | "half-open";

/** Keeps work that fails again and again from being repeated at full speed. Source: Nygard, Release It!, "Circuit Breaker". */
export class Breaker {
  #failures = 0;
  #trying = false;

  /** Failures in a row. */
  get failures(): number {
    return this.#failures;
  }

  get state(): BreakerState {
    if (this.#failures < BREAKER_FAILURES) return "closed";
    return this.#trying ? "half-open" : "open";
  }

  /** How many may try at the same time. */
  parallel(limit: number): number {
    return this.#failures < BREAKER_FAILURES ? limit : 1;
  }

  /** How long to wait before the next try; 0 after a success. */
  pauseMs(): number {
    if (this.#failures === 0) return 0;
    const fullMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (this.#failures - 1));
    return fullMs * (0.5 + Math.random() / 2);
  }

  trying(): void {
    this.#trying = true;
  }

  /** It could not be tried, for a reason that has nothing to do with the work. */
  gaveUp(): void {
    this.#trying = false;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#trying = false;
  }

  failed(): void {
    this.#failures++;
    this.#trying = false;
  }
}
