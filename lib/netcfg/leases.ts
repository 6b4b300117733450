import { VmSubstrateError } from "../core/index.ts";

const LEASE_KINDS = ["hostname", "address", "mac"] as const;
export type LeaseKind = (typeof LEASE_KINDS)[number];

/** The values of one VM's identity that no other VM may have at the same time. */
export type LeasedValues = Readonly<Record<LeaseKind, string>>;

/** Who holds which identity value, for one pool. */
export class LeaseBook {
  readonly #owners = new Map<string, string>();

  ownerOf(kind: LeaseKind, value: string): string | undefined {
    return this.#owners.get(key(kind, value));
  }

  isFree(kind: LeaseKind, value: string): boolean {
    return !this.#owners.has(key(kind, value));
  }

  /**
   * Leases all values for `owner`, or none.
   * @throws VmSubstrateError LEASE_CONFLICT
   */
  lease(owner: string, values: LeasedValues): void {
    for (const kind of LEASE_KINDS) {
      const holder = this.ownerOf(kind, values[kind]);
      if (holder !== undefined) throw leaseConflict(kind, values[kind], `is leased by VM ${holder}`);
    }
    for (const kind of LEASE_KINDS) this.#owners.set(key(kind, values[kind]), owner);
  }

  /** Gives back whatever `owner` holds. Idempotent. */
  release(owner: string): void {
    for (const [value, holder] of this.#owners) if (holder === owner) this.#owners.delete(value);
  }

  get size(): number {
    return this.#owners.size;
  }
}

export function leaseConflict(kind: LeaseKind, value: string, why: string): VmSubstrateError {
  return new VmSubstrateError("LEASE_CONFLICT", `${kind} "${value}" ${why}; choose another, or leave it to the pool`, {
    details: { kind, value },
  });
}

function key(kind: LeaseKind, value: string): string {
  return `${kind} ${value}`;
}
