import { isVmSubstrateError, VmSubstrateError } from "../core/index.ts";
import type { Store } from "../store/index.ts";
import { type AddressRequest, type FreeValues, planAddresses } from "./address-plan.ts";
import { type Change, commit } from "./change.ts";
import { canonicalAddress } from "./ip-address.ts";
import type { IpSubnet } from "./ip-subnet.ts";
import {
  damagedLease,
  LEASES_PREFIX,
  type LeasedValues,
  type LeaseKind,
  type LeaseRecord,
  leaseKey,
  leaseKeysOf,
  leaseOf,
  valuesOfKeys,
} from "./lease-record.ts";
import { LeaseTable } from "./lease-table.ts";
import { Quarantine } from "./quarantine.ts";

export type { LeasedValues } from "./lease-record.ts";

/** Each attempt that fails means that another writer's has succeeded, so that as many writers at once can be served. */
const MAX_LEASE_ATTEMPTS = 64;
/** Ended quarantines that one transaction takes out of the store, which takes 128 writes in all. */
const MAX_SWEPT = 64;
/** Stands for the last owner of an address that somebody else was found to use. */
const FOREIGN = "(foreign host)";

export interface LeaseBookOptions {
  /** How long an address is given to nobody after its release: as long as neighbours remember who had it. */
  readonly quarantineMs: number;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

export interface HoldOptions {
  /** Gives back what the owners hold, without quarantine as it was never on a wire. It may be chosen again. */
  readonly replacing?: boolean | undefined;
  /** Other owners, who lose all that they hold by it, without quarantine. It may be chosen. */
  readonly evicting?: readonly string[] | undefined;
}

export interface LeaseUse {
  /** Addresses, MACs and host names. */
  readonly held: number;
  /** Addresses whose neighbours still remember who had them. */
  readonly quarantined: number;
}

/** Values that were chosen, and that nobody else of this process can get until the change is cancelled. */
export interface Hold extends Change {
  /** In the order of the owners. */
  readonly values: readonly LeasedValues[];
}

/**
 * Who holds which identity value: durable, in a store that several processes may write to. Whoever writes first has a
 * value, by the comparison of its key; the memory of this process only spares it most of the failed attempts.
 *
 * Decisions are synchronous, so that whatever else is decided in the same turn of the event loop belongs to them. Each gives
 * a `Change`, which takes effect when it is confirmed.
 */
export class LeaseBook {
  readonly #store: Store;
  readonly #table: LeaseTable;
  /** Owners with a hold that is not settled. */
  readonly #holding = new Set<string>();
  /** Owners that are being released. */
  readonly #leaving = new Set<string>();
  #loading: Promise<void> = Promise.resolve();

  private constructor(store: Store, { quarantineMs, now }: LeaseBookOptions) {
    this.#store = store;
    this.#table = new LeaseTable(new Quarantine(quarantineMs, now));
  }

  /**
   * Quarantines that the store has last their full time from now on: how much of it is over was known by a clock that may
   * have been another machine's, or set since.
   *
   * @throws VmSubstrateError STATE_DIR_DAMAGED, STORE_CLOSED
   */
  static async open(store: Store, options: LeaseBookOptions): Promise<LeaseBook> {
    const book = new LeaseBook(store, options);
    await book.refresh();
    for (const owner of book.owners()) book.valuesOf(owner);
    return book;
  }

  /**
   * Chooses the values of one VM for each owner, all or none. Each has three or four writes, of which a store takes 128 in one
   * transaction: for many VMs several holds are made, in the same turn.
   *
   * @throws VmSubstrateError LEASE_CONFLICT, LEASE_EXHAUSTED, ADDRESS_OUTSIDE_SUBNET, INVALID_ARGUMENT
   */
  hold(owners: readonly string[], request: AddressRequest, options: HoldOptions = {}): Hold {
    const { replacing = false, evicting = [] } = options;
    this.#requireSettled(owners, replacing, evicting);
    const given = new Set([...owners, ...evicting].flatMap((owner) => [...this.#table.keysOf(owner)]));
    const free: FreeValues = {
      refusal: (kind, value) => this.#table.refusal(kind, value, given),
      lowest: (kind, space, count) => this.#table.lowest(kind, space, count, given),
      shortage: (kind, space, needed, found) => this.#table.shortage(kind, space, needed, found),
    };
    const values = owners.length === 0 ? [] : planAddresses(owners.length, request, free);
    const effects = this.#givenBack(given);
    for (const [i, owner] of owners.entries()) {
      for (const key of leaseKeysOf(values[i] as LeasedValues)) effects.set(key, { owner, state: "held" });
      this.#holding.add(owner);
    }
    for (const owner of evicting) this.#leaving.add(owner);
    const change = this.#table.begin(effects, () => {
      for (const owner of owners) this.#holding.delete(owner);
      for (const owner of evicting) this.#leaving.delete(owner);
    });
    return { values, ...change };
  }

  /**
   * Gives back what an owner holds; addresses are quarantined, because neighbours remember the MAC that they had (ARP and
   * neighbour caches). Only the first call for an owner has writes.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT while a hold for the owner is neither confirmed nor cancelled
   */
  release(owner: string): Change {
    const quarantined: LeaseRecord = { owner, state: "quarantined" };
    return this.#end(owner, (keys) => {
      return new Map([...keys].map((key) => [key, leaseOf(key).kind === "address" ? quarantined : undefined]));
    });
  }

  /** As `release`, without quarantine: for values that were never on a wire. */
  discard(owner: string): Change {
    return this.#end(owner, (keys) => this.#givenBack(keys));
  }

  /**
   * For an address that a host which is none of our VMs was found to use: it is given to nobody for the time of a
   * quarantine. Who holds it keeps it, and has to be given another by whoever calls this.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT
   */
  quarantine(address: string): Change {
    const canonical = canonicalAddress(address);
    if (canonical === undefined) throw new VmSubstrateError("INVALID_ARGUMENT", `"${address}" is not an IP address`);
    const key = leaseKey("address", canonical);
    this.#table.quarantine.begin(key);
    const isHeld = this.#table.isChanging(key) || this.#table.ownerOf(key) !== undefined;
    return this.#table.begin(new Map(isHeld ? [] : [[key, { owner: FOREIGN, state: "quarantined" }]]));
  }

  /** Takes up to `count` quarantines that are over out of the store, so that it does not grow for ever. */
  sweep(count: number = MAX_SWEPT): Change {
    return this.#table.begin(new Map(this.#table.ended(count).map((key) => [key, undefined])));
  }

  /** Learns what other processes have written. @throws VmSubstrateError STATE_DIR_DAMAGED, STORE_CLOSED */
  async refresh(): Promise<void> {
    const load = () => this.#table.load(() => this.#store.list(LEASES_PREFIX));
    // One after another, also after a failed one: none may take over a listing that is older than what is known.
    this.#loading = this.#loading.then(load, load);
    await this.#loading;
  }

  /**
   * Holds values durably, also when other processes take some at the same time.
   *
   * @throws VmSubstrateError as `hold` and Store.transact; LEASE_CONFLICT also when others were faster too many times
   */
  async lease(owners: readonly string[], request: AddressRequest, options: HoldOptions = {}): Promise<Hold["values"]> {
    for (let attempt = 1; attempt <= MAX_LEASE_ATTEMPTS; attempt++) {
      const first = attempt === 1;
      const hold = first ? this.#holdIfFree(owners, request, options) : this.hold(owners, request, options);
      if (hold !== undefined) {
        // A store takes only so many writes at a time.
        const room = first ? Math.max(0, MAX_SWEPT - hold.writes.length) : 0;
        if (await commit(this.#store, [hold, this.sweep(room)])) return hold.values;
      }
      await this.refresh();
    }
    const message = `other processes took the same values first, ${MAX_LEASE_ATTEMPTS} times in a row; call again`;
    throw new VmSubstrateError("LEASE_CONFLICT", message);
  }

  /** Undefined when something is in the way, which may be gone: the memory is as old as the last refresh. */
  #holdIfFree(owners: readonly string[], request: AddressRequest, options: HoldOptions): Hold | undefined {
    try {
      return this.hold(owners, request, options);
    } catch (error) {
      if (isVmSubstrateError(error, "LEASE_CONFLICT") || isVmSubstrateError(error, "LEASE_EXHAUSTED")) return undefined;
      throw error;
    }
  }

  /** Who holds a value, or is about to. */
  ownerOf(kind: LeaseKind, value: string): string | undefined {
    const owner = this.#table.ownerOf(keyOf(kind, value));
    return owner === undefined || this.#leaving.has(owner) ? undefined : owner;
  }

  isFree(kind: LeaseKind, value: string): boolean {
    return this.#table.isFree(keyOf(kind, value));
  }

  /** What an owner holds durably. @throws VmSubstrateError STATE_DIR_DAMAGED when it is no whole identity */
  valuesOf(owner: string): LeasedValues | undefined {
    const keys = this.#table.keysOf(owner);
    if (keys.size === 0 || this.#leaving.has(owner)) return undefined;
    const values = valuesOfKeys(keys);
    if (values === undefined)
      throw damagedLease(`the leases of VM ${owner} are no whole identity: ${[...keys].join(" ")}`);
    return values;
  }

  /** Those that hold values durably. */
  owners(): string[] {
    return [...this.#table.owners()].filter((owner) => !this.#leaving.has(owner));
  }

  /** How many values are held durably. */
  get size(): number {
    return this.owners().reduce((sum, owner) => sum + this.#table.keysOf(owner).size, 0);
  }

  /** How many values are held, and how many addresses are given to nobody for a while. */
  get use(): LeaseUse {
    return { held: this.size, quarantined: this.#table.quarantine.size };
  }

  /** Whether an address of a subnet is held, or is about to be. */
  uses(subnet: IpSubnet): boolean {
    return this.#table.keysInUse().some((key) => {
      const { kind, value } = leaseOf(key);
      return kind === "address" && subnet.contains(value);
    });
  }

  #end(owner: string, effectsOf: (keys: ReadonlySet<string>) => ReadonlyMap<string, LeaseRecord | undefined>): Change {
    if (this.#holding.has(owner)) throw unsettled(owner);
    const keys = this.#table.keysOf(owner);
    if (keys.size === 0 || this.#leaving.has(owner)) return this.#table.begin(new Map());
    this.#leaving.add(owner);
    return this.#table.begin(effectsOf(keys), () => this.#leaving.delete(owner));
  }

  /** Keys that become free; addresses that a foreign host uses only after their quarantine. */
  #givenBack(keys: Iterable<string>): Map<string, LeaseRecord | undefined> {
    const foreign: LeaseRecord = { owner: FOREIGN, state: "quarantined" };
    return new Map([...keys].map((key) => [key, this.#table.quarantine.has(key) ? foreign : undefined]));
  }

  #requireSettled(owners: readonly string[], replacing: boolean, evicting: readonly string[]): void {
    const all = [...owners, ...evicting];
    if (new Set(all).size < all.length) throw new VmSubstrateError("INVALID_ARGUMENT", "an owner is named twice");
    const unsettledOwner = all.find((owner) => this.#holding.has(owner) || this.#leaving.has(owner));
    if (unsettledOwner !== undefined) throw unsettled(unsettledOwner);
    for (const owner of owners) {
      if (replacing || this.#table.keysOf(owner).size === 0) continue;
      throw new VmSubstrateError("INVALID_ARGUMENT", `VM ${owner} holds values already; replace or release them`);
    }
  }
}

function keyOf(kind: LeaseKind, value: string): string {
  return leaseKey(kind, kind === "address" ? (canonicalAddress(value) ?? value) : value);
}

function unsettled(owner: string): VmSubstrateError {
  const message = `VM ${owner}: another change of its values is neither confirmed nor cancelled`;
  return new VmSubstrateError("INVALID_ARGUMENT", message);
}
