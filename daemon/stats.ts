import { type Second, STATS_SECONDS } from "../api/index.ts";
import type { Pool, Vm } from "../lib/index.ts";

/** What each of the last seconds brought, for charts. */
export class Stats implements Disposable {
  readonly #pool: Pool;
  readonly #seconds: Second[] = [];
  readonly #listeners = new Set<(second: Second) => void>();
  readonly #timer: NodeJS.Timeout;
  #totalsMs: number[] = [];
  #failures = 0;

  constructor(pool: Pool) {
    this.#pool = pool;
    this.#timer = setInterval(() => this.#tick(), 1000).unref();
  }

  /** The oldest first. */
  get seconds(): readonly Second[] {
    return this.#seconds;
  }

  activated({ timings }: Vm): void {
    this.#totalsMs.push(timings.totalMs);
  }

  failed(count: number): void {
    this.#failures += count;
  }

  /** @returns the end of it */
  listen(listener: (second: Second) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const sorted = this.#totalsMs.toSorted((a, b) => a - b);
    const second: Second = {
      at: Math.floor(Date.now() / 1000),
      claims: sorted.length,
      failures: this.#failures,
      p50Ms: quantile(sorted, 0.5),
      p95Ms: quantile(sorted, 0.95),
      p99Ms: quantile(sorted, 0.99),
      vms: this.#pool.vms.length,
      ready: this.#pool.docks.reduce((sum, { ready }) => sum + ready, 0),
      memoryBytes: Math.round(this.#pool.memory.bytes),
    };
    this.#totalsMs = [];
    this.#failures = 0;
    this.#seconds.push(second);
    if (this.#seconds.length > STATS_SECONDS) this.#seconds.shift();
    for (const listener of this.#listeners) listener(second);
  }
}

/** The nearest rank; null of nothing. */
function quantile(sorted: readonly number[], q: number): number | null {
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? null;
}
