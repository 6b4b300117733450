import { VmSubstrateError } from "../core/index.ts";
import type { Change, StoreLease, Transaction, TransactionResult } from "./store.ts";
import type { Counters, Tables } from "./tables.ts";

/**
 * What one commit is going to make of the store. Operations are evaluated in order, each on what the ones before it left;
 * an operation that throws has written nothing. Nobody may hear of a draft before it is durable.
 */
export class Draft implements Counters {
  readonly changes: Change[] = [];
  readonly granted: StoreLease[] = [];
  readonly ended: string[] = [];
  readonly #tables: Tables;
  #revision: number;
  #epoch: number;

  constructor(tables: Tables, from: Counters) {
    this.#tables = tables;
    this.#revision = from.revision;
    this.#epoch = from.epoch;
  }

  get revision(): number {
    return this.#revision;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** @throws VmSubstrateError STORE_LEASE_EXPIRED */
  transact({ compare = [], writes }: Transaction): TransactionResult {
    const holds = compare.every(({ key, revision }) => this.#tables.revisionOf(key) === revision);
    if (!holds) return { committed: false, revision: this.#revision };
    for (const write of writes) if ("put" in write && write.leaseId !== undefined) this.#requireLease(write.leaseId);
    this.#asOneRevision(() => {
      for (const write of writes) {
        if ("put" in write) this.#put(write.put, write.value, write.leaseId);
        else this.#delete(write.delete);
      }
    });
    return { committed: true, revision: this.#revision };
  }

  grantLease(ttlMs: number): StoreLease {
    this.#epoch += 1;
    const lease = Object.freeze({ id: `lease-${this.#epoch}`, epoch: this.#epoch, ttlMs });
    this.#tables.addLease(lease);
    this.granted.push(lease);
    return lease;
  }

  /** Deletes a lease and its keys, by key. Without effect for a lease that is gone. */
  endLease(id: string): void {
    this.#asOneRevision(() => {
      for (const key of this.#tables.keysOfLease(id)) this.#delete(key);
    });
    this.#tables.deleteLease(id);
    this.ended.push(id);
  }

  /** As in etcd, deleting what is not there is no change, and without a change there is no revision. */
  #asOneRevision(work: () => void): void {
    const before = this.changes.length;
    work();
    if (this.changes.length > before) this.#revision += 1;
  }

  #put(key: string, value: string, leaseId: string | undefined): void {
    const entry = Object.freeze({ key, value, revision: this.#revision + 1, leaseId });
    this.#tables.put(entry);
    this.changes.push(Object.freeze({ revision: entry.revision, key, entry }));
  }

  #delete(key: string): void {
    if (!this.#tables.delete(key)) return;
    this.changes.push(Object.freeze({ revision: this.#revision + 1, key, entry: undefined }));
  }

  #requireLease(id: string): void {
    if (!this.#tables.hasLease(id)) throw leaseExpired(id);
  }
}

export function leaseExpired(id: string): VmSubstrateError {
  const message = `lease "${id}" has expired or was revoked, and its keys are gone; grant a new one`;
  return new VmSubstrateError("STORE_LEASE_EXPIRED", message, { details: { leaseId: id } });
}
