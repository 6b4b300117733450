import type { Change, Entry, StoreLease, Transaction, TransactionResult, Write } from "../../lib/store/index.ts";

interface RunningLease extends StoreLease {
  deadline: number;
}

/** The contract of a store in the simplest terms: everything in memory, one call at a time. */
export class Model {
  now = 0;
  revision: number;
  readonly entries = new Map<string, Entry>();
  readonly leases = new Map<string, RunningLease>();
  readonly changes: Change[] = [];

  constructor(revision: number) {
    this.revision = revision;
  }

  transact({ compare = [], writes }: Transaction): TransactionResult | "STORE_LEASE_EXPIRED" {
    const holds = compare.every(({ key, revision }) => (this.entries.get(key)?.revision ?? 0) === revision);
    if (!holds) return { committed: false, revision: this.revision };
    const isGone = (write: Write) => "put" in write && write.leaseId !== undefined && !this.leases.has(write.leaseId);
    if (writes.some(isGone)) return "STORE_LEASE_EXPIRED";
    this.#write(writes);
    return { committed: true, revision: this.revision };
  }

  start(lease: StoreLease): void {
    this.leases.set(lease.id, { ...lease, deadline: this.now + lease.ttlMs });
  }

  end(id: string): void {
    const keys = [...this.entries.values()].filter(({ leaseId }) => leaseId === id).map(({ key }) => key);
    this.leases.delete(id);
    this.#write(keys.toSorted().map((key) => ({ delete: key })));
  }

  advance(ms: number): void {
    this.now += ms;
    const due = [...this.leases.values()].filter(({ deadline }) => deadline <= this.now);
    for (const { id } of due.toSorted((a, b) => a.deadline - b.deadline || a.epoch - b.epoch)) this.end(id);
  }

  /** Everybody has their full time again. */
  restartLeases(): void {
    for (const lease of this.leases.values()) lease.deadline = this.now + lease.ttlMs;
  }

  list(prefix: string): Entry[] {
    const entries = [...this.entries.values()].filter(({ key }) => key.startsWith(prefix));
    return entries.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  }

  #write(writes: readonly Write[]): void {
    const revision = this.revision + 1;
    for (const write of writes) {
      if ("put" in write) {
        const entry = { key: write.put, value: write.value, revision, leaseId: write.leaseId };
        this.entries.set(entry.key, entry);
        this.changes.push({ revision, key: entry.key, entry });
      } else if (this.entries.delete(write.delete)) {
        this.changes.push({ revision, key: write.delete, entry: undefined });
      }
    }
    if (this.changes.at(-1)?.revision === revision) this.revision = revision;
  }
}
