/** Claims older than this say nothing about the next ones. */
export const DEMAND_WINDOW_MS = 10_000;
/** Waiting clones for this many refill times of the present demand. */
const REFILL_TIMES = 2;
/** Weight of the newest refill in the running mean. */
const REFILL_WEIGHT = 0.3;

/** How deep a dock should be: what is claimed while a clone is made, between bounds. Pure but for the given clock. */
export class Demand {
  readonly #now: () => number;
  #claims: number[] = [];
  #refillMs = 0;

  /** @param now milliseconds, monotonic */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  claimed(count: number): void {
    const at = this.#now();
    for (let i = 0; i < count; i++) this.#claims.push(at);
  }

  refilled(tookMs: number): void {
    this.#refillMs = this.#refillMs === 0 ? tookMs : this.#refillMs + REFILL_WEIGHT * (tookMs - this.#refillMs);
  }

  depth(min: number, max: number): number {
    const since = this.#now() - DEMAND_WINDOW_MS;
    this.#claims = this.#claims.filter((at) => at > since);
    const perMs = this.#claims.length / DEMAND_WINDOW_MS;
    return Math.min(max, Math.max(min, Math.ceil(perMs * this.#refillMs * REFILL_TIMES)));
  }
}
