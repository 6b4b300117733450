import { setImmediate as turn } from "node:timers/promises";
import type { LeasedValues } from "../../lib/netcfg/index.ts";
import { LEASES_PREFIX, type LeaseRecord, leaseKeysOf, leaseOf } from "../../lib/netcfg/lease-record.ts";
import type { Listing, Transaction, TransactionResult } from "../../lib/store/index.ts";
import { MemoryStore } from "./memory-store.ts";

/** How an owner's values may leave it. */
export type Ending = "release" | "discard" | "replace";

interface Seen extends LeaseRecord {
  readonly atMs: number;
}

/**
 * A store that looks at every transaction of leases as it is carried out, and fails the test at the first one that no
 * correct writer would have made. Before and after each call it lets others go on for as many turns as `turns` says.
 */
export class AuditedStore extends MemoryStore {
  /** What writers are about to do with their owners; anything else is an error. */
  readonly endings = new Map<string, Ending>();
  readonly #turns: () => number;
  readonly #quarantineMs: number;
  readonly #now: () => number;
  readonly #valuesOfOne: number;
  readonly #seen = new Map<string, Seen>();
  /** How many values left each owner for good. */
  readonly #left = new Map<string, number>();
  problem: Error | undefined;
  transactions = 0;

  constructor(options: { turns: () => number; quarantineMs: number; now: () => number; valuesOfOne: number }) {
    super();
    this.#turns = options.turns;
    this.#quarantineMs = options.quarantineMs;
    this.#now = options.now;
    this.#valuesOfOne = options.valuesOfOne;
  }

  override async list(prefix: string): Promise<Listing> {
    await this.#others();
    const listing = super.list(prefix);
    await this.#others();
    return listing;
  }

  override async transact(transaction: Transaction): Promise<TransactionResult> {
    await this.#others();
    const result = super.transact(transaction); // carried out within this call
    try {
      this.#audit(transaction);
    } catch (error) {
      this.problem ??= error as Error;
    }
    await this.#others();
    return result;
  }

  /** Compares everything with what the writers were told. */
  requireEqual(live: ReadonlyMap<string, LeasedValues>): void {
    if (this.problem !== undefined) throw this.problem;
    const held = new Map([...live].flatMap(([owner, values]) => leaseKeysOf(values).map((key) => [key, owner])));
    let heldInStore = 0;
    for (const [key, { value }] of this.contents) {
      const record = JSON.parse(value) as LeaseRecord;
      if (record.state === "quarantined") continue;
      heldInStore++;
      if (held.get(key) !== record.owner) throw new Error(`${key} is of ${record.owner}, not of ${held.get(key)}`);
    }
    if (heldInStore !== held.size) throw new Error(`${held.size} values were given, the store has ${heldInStore}`);
    if (this.contents.size !== this.#seen.size) throw new Error("the store has what was never written");
  }

  #audit({ writes }: Transaction): void {
    const touched = new Set<string>();
    let changed = false;
    for (const write of writes) {
      const key = "put" in write ? write.put : write.delete;
      if (!key.startsWith(LEASES_PREFIX)) continue;
      const before = this.#seen.get(key);
      const entry = this.contents.get(key);
      const after = entry && (JSON.parse(entry.value) as LeaseRecord);
      if (JSON.stringify(after) === JSON.stringify(before && { owner: before.owner, state: before.state })) continue;
      changed = true;
      this.#auditKey(key, before, after);
      for (const owner of [before, after]) if (owner?.state === "held") touched.add(owner.owner);
      if (after === undefined) this.#seen.delete(key);
      else this.#seen.set(key, { ...after, atMs: this.#now() });
    }
    if (changed) this.transactions++;
    for (const owner of touched) {
      const count = [...this.#seen.values()].filter((one) => one.state === "held" && one.owner === owner).length;
      if (count !== 0 && count !== this.#valuesOfOne)
        throw new Error(`${owner} has ${count} values, a part of an identity`);
    }
  }

  #auditKey(key: string, before: Seen | undefined, after: LeaseRecord | undefined): void {
    const change = `${key}: ${JSON.stringify(before)} -> ${JSON.stringify(after)}`;
    if (before?.state === "quarantined" && this.#now() < before.atMs + this.#quarantineMs) {
      if (after?.state !== "quarantined") throw new Error(`handed out in quarantine: ${change}`);
    }
    if (before?.state === "held") {
      const ending = this.endings.get(before.owner);
      if (ending === undefined) throw new Error(`taken from its owner: ${change}`);
      if (after?.state === "held" && ending !== "replace") throw new Error(`two owners: ${change}`);
      const isAddress = leaseOf(key).kind === "address";
      if (isAddress !== (after?.state === "quarantined") && ending === "release") {
        throw new Error(`not as released: ${change}`);
      }
      if (ending !== "replace") this.#leave(before.owner);
    }
    if (after?.state === "quarantined" && before?.state !== "held") throw new Error(`from nowhere: ${change}`);
    if (after?.state === "held" && this.#left.has(after.owner)) throw new Error(`back after its release: ${change}`);
  }

  #leave(owner: string): void {
    const count = (this.#left.get(owner) ?? 0) + 1;
    if (count > this.#valuesOfOne) throw new Error(`${owner} was released twice`);
    this.#left.set(owner, count);
  }

  async #others(): Promise<void> {
    const turns = this.#turns();
    if (turns === 15) await turn(); // now and then, all others go on as far as they can
    for (let i = 0; i < turns; i++) await Promise.resolve();
  }
}
