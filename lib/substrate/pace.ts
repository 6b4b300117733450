import { setTimeout as delay } from "node:timers/promises";

export interface PaceDependencies {
  /** Milliseconds. */
  readonly now: () => number;
  readonly wait: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
}

const CLOCK: PaceDependencies = {
  now: () => performance.now(),
  wait: (ms, signal) => delay(ms, undefined, { signal }),
};

/** Keeps work that nobody waits for from taking a whole disk: on average so many bytes a second. */
export class Pace {
  readonly #bytesPerSecond: number;
  readonly #deps: PaceDependencies;
  readonly #startedAt: number;
  #bytes = 0;

  constructor(bytesPerSecond: number, deps: PaceDependencies = CLOCK) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#deps = deps;
    this.#startedAt = deps.now();
  }

  /** Waits until so many bytes more are due. */
  async spend(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    this.#bytes += bytes;
    const dueMs = (this.#bytes / this.#bytesPerSecond) * 1000 - (this.#deps.now() - this.#startedAt);
    if (dueMs > 0) await this.#deps.wait(dueMs, signal);
  }
}
