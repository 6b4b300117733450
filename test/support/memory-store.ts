import { VmSubstrateError } from "../../lib/core/index.ts";
import type {
  Change,
  Compare,
  Entry,
  Listing,
  Store,
  StoreLease,
  Transaction,
  TransactionResult,
} from "../../lib/store/index.ts";

/** A store without a disk, for tests of what is built on one. Leases never end by themselves, and nothing can be watched. */
export class MemoryStore implements Store {
  readonly #entries = new Map<string, Entry>();
  readonly #leases = new Map<string, StoreLease>();
  /** The last of each prefix, for when nothing has changed since. */
  readonly #listings = new Map<string, Listing>();
  #revision = 0;
  #closed = false;

  /** Everything, by key. */
  get contents(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  async get(key: string): Promise<Entry | undefined> {
    this.#requireOpen();
    return this.#entries.get(key);
  }

  async list(prefix: string): Promise<Listing> {
    this.#requireOpen();
    const known = this.#listings.get(prefix);
    if (known?.revision === this.#revision) return known;
    const entries = [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix));
    const listing = { entries: entries.toSorted((a, b) => (a.key < b.key ? -1 : 1)), revision: this.#revision };
    this.#listings.set(prefix, listing);
    return listing;
  }

  async transact(transaction: Transaction): Promise<TransactionResult> {
    this.#requireOpen();
    const { compare = [], writes } = transaction;
    if (new Set(writes.map(keyOf)).size < writes.length) {
      throw new VmSubstrateError("INVALID_ARGUMENT", "a key is written twice");
    }
    for (const write of writes) {
      if ("put" in write && write.leaseId !== undefined && !this.#leases.has(write.leaseId)) {
        throw new VmSubstrateError("STORE_LEASE_EXPIRED", `there is no lease ${write.leaseId}`);
      }
    }
    if (!compare.every((one) => this.#holds(one))) return { committed: false, revision: this.#revision };
    if (writes.length > 0) this.#revision++;
    for (const write of writes) {
      if ("delete" in write) this.#entries.delete(write.delete);
      else {
        const { put: key, value, leaseId } = write;
        this.#entries.set(key, { key, value, leaseId, revision: this.#revision });
      }
    }
    return { committed: true, revision: this.#revision };
  }

  async grantLease(ttlMs: number): Promise<StoreLease> {
    const epoch = ++this.#revision;
    const lease = { id: `lease-${epoch}`, epoch, ttlMs };
    this.#leases.set(lease.id, lease);
    return lease;
  }

  async renewLease(id: string): Promise<StoreLease> {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw new VmSubstrateError("STORE_LEASE_EXPIRED", `there is no lease ${id}`);
    return lease;
  }

  async revokeLease(id: string): Promise<void> {
    this.#leases.delete(id);
    const keys = [...this.#entries.values()].filter(({ leaseId }) => leaseId === id).map(({ key }) => key);
    await this.transact({ writes: keys.map((key) => ({ delete: key })) });
  }

  watch(): AsyncIterable<Change> {
    throw new Error("this store cannot be watched");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
  }

  #holds({ key, revision }: Compare): boolean {
    return (this.#entries.get(key)?.revision ?? 0) === revision;
  }

  #requireOpen(): void {
    if (this.#closed) throw new VmSubstrateError("STORE_CLOSED", "the store is closed");
  }
}

function keyOf(write: Transaction["writes"][number]): string {
  return "put" in write ? write.put : write.delete;
}
