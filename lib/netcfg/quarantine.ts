/**
 * Keys that nobody may have for a while. Time is that of the injected clock, which must be monotonic: a wall clock that is
 * set forward would end every quarantine at once. All last equally long, so that they end in the order they began.
 */
export class Quarantine {
  readonly #durationMs: number;
  readonly #now: () => number;
  /** When each ends, in that order. */
  readonly #ends = new Map<string, number>();

  constructor(durationMs: number, now: () => number) {
    this.#durationMs = durationMs;
    this.#now = now;
  }

  /** Begins, or begins again. */
  begin(key: string): void {
    this.#ends.delete(key);
    this.#ends.set(key, this.#now() + this.#durationMs);
  }

  has(key: string): boolean {
    return this.#ends.has(key);
  }

  /** How long a key's quarantine goes on, undefined without one. */
  remainingMs(key: string): number | undefined {
    const endMs = this.#ends.get(key);
    return endMs === undefined ? undefined : endMs - this.#now();
  }

  /** The keys, those whose quarantine ends first before the others. */
  keys(): Iterable<string> {
    return this.#ends.keys();
  }

  get size(): number {
    return this.#ends.size;
  }

  /** Takes out those whose time is over. */
  takeEnded(): string[] {
    const now = this.#now();
    const ended: string[] = [];
    for (const [key, endMs] of this.#ends) {
      if (endMs > now) break;
      ended.push(key);
      this.#ends.delete(key);
    }
    return ended;
  }
}
