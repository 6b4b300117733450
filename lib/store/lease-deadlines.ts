import type { StoreLease } from "./store.ts";

interface Running {
  readonly lease: StoreLease;
  readonly deadline: number;
}

/** Longest delay that setTimeout takes; a longer one would fire at once. */
const LONGEST_DELAY = 2 ** 31 - 1;

/** When leases end, in memory only: a renewal costs no write, and a store that is opened again gives full time to all. */
export class LeaseDeadlines {
  readonly #now: () => number;
  readonly #onDue: () => void;
  readonly #running = new Map<string, Running>();
  /** No lease ends before. Renewals leave it too early, which costs one look. */
  #earliest = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  /** @param onDue called when leases may be due without anybody having asked */
  constructor(now: () => number, onDue: () => void) {
    this.#now = now;
    this.#onDue = onDue;
  }

  start(lease: StoreLease): void {
    const deadline = this.#now() + lease.ttlMs;
    this.#running.set(lease.id, { lease, deadline });
    if (deadline < this.#earliest) this.#wakeAt(deadline);
  }

  /** Full time again; undefined for a lease that is gone. */
  renew(id: string): StoreLease | undefined {
    const lease = this.#running.get(id)?.lease;
    if (lease !== undefined) this.start(lease);
    return lease;
  }

  end(id: string): void {
    this.#running.delete(id);
  }

  /** Cheap, and sometimes true without need: then `due` is empty. */
  get mayBeDue(): boolean {
    return this.#now() >= this.#earliest;
  }

  /** The leases whose time is over, the longest overdue first. Told once: the caller ends them, or ends all writing. */
  due(): string[] {
    const now = this.#now();
    if (now < this.#earliest) return [];
    const all = [...this.#running.values()];
    const due = all.filter(({ deadline }) => deadline <= now);
    this.#wakeAt(all.reduce((least, { deadline }) => (deadline > now ? Math.min(least, deadline) : least), Infinity));
    return due.toSorted((a, b) => a.deadline - b.deadline).map(({ lease }) => lease.id);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #wakeAt(time: number): void {
    this.#earliest = time;
    clearTimeout(this.#timer);
    if (time === Number.POSITIVE_INFINITY) return;
    const delay = Math.min(Math.max(Math.ceil(time - this.#now()), 1), LONGEST_DELAY);
    this.#timer = setTimeout(this.#onDue, delay).unref();
  }
}
