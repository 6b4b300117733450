import type { Listing, Write } from "../store/index.ts";
import type { Change } from "./change.ts";
import { FreeLists } from "./free-lists.ts";
import type { Refusal, Shortage } from "./lease-errors.ts";
import { type LeaseKind, type LeaseRecord, leaseKey, leaseOf, parseLease } from "./lease-record.ts";
import type { Numbered } from "./lowest-free.ts";
import type { Quarantine } from "./quarantine.ts";

/** What becomes of keys by a change: their new records, undefined for those that are deleted. */
export type Effects = ReadonlyMap<string, LeaseRecord | undefined>;

interface Known extends LeaseRecord {
  /** Of the store, at the key's last change. */
  readonly revision: number;
}

const NONE: ReadonlySet<string> = new Set();

/**
 * The leases of a store as this process knows them, and the changes of them that are under way. A key has at most one
 * change at a time, and only its own change moves it, so that none sees another's half.
 */
export class LeaseTable {
  readonly quarantine: Quarantine;
  readonly #known = new Map<string, Known>();
  readonly #keysOf = new Map<string, Set<string>>();
  /** Keys with a change under way, and who will hold them by it. */
  readonly #changing = new Map<string, string | undefined>();
  /** Quarantined in the store still, but no longer here. */
  readonly #ended = new Set<string>();
  readonly #free = new FreeLists();
  /** The revision that was last taken over from the store as a whole. */
  #loadedAt = 0;
  /** Deleted by this process while a listing is under way, which may be older than that. */
  #deleted: Map<string, number> | undefined;

  constructor(quarantine: Quarantine) {
    this.quarantine = quarantine;
  }

  /** Whose key it is, or is about to be. */
  ownerOf(key: string): string | undefined {
    const known = this.#known.get(key);
    return this.#changing.get(key) ?? (known?.state === "held" ? known.owner : undefined);
  }

  /** The keys that an owner holds durably. */
  keysOf(owner: string): ReadonlySet<string> {
    return this.#keysOf.get(owner) ?? NONE;
  }

  owners(): Iterable<string> {
    return this.#keysOf.keys();
  }

  /** Keys that are held, or whose change is under way. */
  *keysInUse(): Generator<string> {
    for (const keys of this.#keysOf.values()) yield* keys;
    yield* this.#changing.keys();
  }

  isChanging(key: string): boolean {
    return this.#changing.has(key);
  }

  isFree(key: string): boolean {
    this.#endQuarantines();
    return this.#isFree(key);
  }

  /**
   * Why a value cannot be had, undefined when it can.
   * @param given keys that their holders give up for it
   */
  refusal(kind: LeaseKind, value: string, given: ReadonlySet<string>): Refusal | undefined {
    const key = leaseKey(kind, value);
    this.#endQuarantines();
    if (this.#isFreeFor(key, given)) return undefined;
    const ms = this.quarantine.remainingMs(key);
    const holder = this.ownerOf(key);
    if (holder !== undefined) return { why: `is leased by VM ${holder}`, holder };
    if (ms === undefined) return { why: "is being given back at this moment" };
    return { why: `is quarantined for ${Math.ceil(ms)} ms more, until nobody remembers who had it` };
  }

  /** Up to `count` values of a space that can be had, lowest first. */
  lowest(kind: LeaseKind, space: Numbered, count: number, given: ReadonlySet<string>): string[] {
    this.#endQuarantines();
    for (const key of given) this.#freed(key);
    return this.#free.lowest(kind, space, count, (value) => this.#isFreeFor(leaseKey(kind, value), given));
  }

  /** What is in the way, for the message of an error: goes through all. */
  shortage(kind: LeaseKind, space: Numbered, needed: number, free: number): Shortage {
    const within = (key: string) => {
      const lease = leaseOf(key);
      return lease.kind === kind && space.numberOf(lease.value) !== undefined;
    };
    const waiting = [...this.quarantine.keys()].filter((key) => within(key) && this.ownerOf(key) === undefined);
    return {
      needed,
      free,
      capacity: space.capacity,
      quarantined: waiting.length,
      nextFreeMs: waiting[0] === undefined ? undefined : this.quarantine.remainingMs(waiting[0]),
      settling: [...this.#changing.keys()].filter(within).length,
    };
  }

  /** Up to `count` keys whose quarantine is over, but not yet in the store. */
  ended(count: number): string[] {
    this.#endQuarantines();
    return [
      ...this.#ended
        .values()
        .filter((key) => !this.#changing.has(key))
        .take(count),
    ];
  }

  /** Takes keys, none of which is changing, out of everybody's reach until the change is settled. */
  begin(effects: Effects, onSettled: () => void = () => {}): Change {
    for (const [key, record] of effects) {
      this.#changing.set(key, record?.state === "held" ? record.owner : undefined);
    }
    let isSettled = false;
    const settle = (apply: () => void) => {
      if (isSettled) return;
      isSettled = true;
      apply();
      onSettled();
      for (const key of effects.keys()) {
        this.#changing.delete(key);
        if (this.#isFree(key)) this.#freed(key);
      }
    };
    return {
      compare: [...effects.keys()].map((key) => ({ key, revision: this.#known.get(key)?.revision ?? 0 })),
      writes: [...effects].map(
        ([key, record]): Write => (record ? { put: key, value: JSON.stringify(record) } : { delete: key }),
      ),
      confirm: (revision) =>
        settle(() => {
          if (revision <= this.#loadedAt) return; // a listing was faster than the confirmation
          for (const [key, record] of effects) this.#apply(key, record, revision);
        }),
      cancel: () => settle(() => {}),
    };
  }

  /**
   * Takes over what the store has. What this process has confirmed since the listing was made stays.
   * @throws VmSubstrateError STATE_DIR_DAMAGED
   */
  async load(list: () => Promise<Listing>): Promise<void> {
    this.#deleted = new Map();
    try {
      const { entries, revision } = await list();
      const listed = new Map(entries.map((entry) => [entry.key, entry]));
      const gone = [...this.#known].filter(([key, known]) => !listed.has(key) && known.revision <= revision);
      const changed = entries
        .filter(
          (entry) => entry.revision > (this.#known.get(entry.key)?.revision ?? this.#deleted?.get(entry.key) ?? 0),
        )
        .map((entry) => ({ ...entry, record: parseLease(entry.key, entry.value) }));
      for (const [key] of gone) this.#apply(key, undefined, revision);
      for (const { key, record, revision: at } of changed) this.#apply(key, record, at);
      for (const [key] of gone) if (this.#isFree(key)) this.#freed(key);
      this.#loadedAt = Math.max(this.#loadedAt, revision);
    } finally {
      this.#deleted = undefined;
    }
  }

  #apply(key: string, record: LeaseRecord | undefined, revision: number): void {
    const before = this.#known.get(key);
    if (before?.state === "held") this.#disown(key, before.owner);
    this.#ended.delete(key);
    if (record === undefined) {
      this.#known.delete(key);
      this.#deleted?.set(key, revision);
      return;
    }
    this.#known.set(key, { ...record, revision });
    if (record.state === "quarantined") this.quarantine.begin(key);
    else this.#keysOf.set(record.owner, new Set([...this.keysOf(record.owner), key]));
  }

  #disown(key: string, owner: string): void {
    const keys = this.#keysOf.get(owner);
    keys?.delete(key);
    if (keys?.size === 0) this.#keysOf.delete(owner);
  }

  #endQuarantines(): void {
    for (const key of this.quarantine.takeEnded()) {
      if (this.#known.get(key)?.state === "quarantined") this.#ended.add(key);
      if (this.#isFree(key)) this.#freed(key);
    }
  }

  #isFree(key: string): boolean {
    return !this.#changing.has(key) && !this.quarantine.has(key) && this.#known.get(key)?.state !== "held";
  }

  #isFreeFor(key: string, given: ReadonlySet<string>): boolean {
    return this.#isFree(key) || (given.has(key) && !this.quarantine.has(key));
  }

  #freed(key: string): void {
    const { kind, value } = leaseOf(key);
    this.#free.freed(kind, value);
  }
}
