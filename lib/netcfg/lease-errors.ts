import { VmSubstrateError } from "../core/index.ts";
import type { LeaseKind } from "./lease-record.ts";

/** Why a value cannot be had. */
export interface Refusal {
  readonly why: string;
  /** The VM that has it. */
  readonly holder?: string | undefined;
}

export function leaseConflict(kind: LeaseKind, value: string, { why, holder }: Refusal): VmSubstrateError {
  return new VmSubstrateError("LEASE_CONFLICT", `${kind} "${value}" ${why}; choose another, or leave it to the pool`, {
    details: { kind, value, holder },
  });
}

/** What is in the way when too few values of a space are free. */
export interface Shortage {
  readonly needed: number;
  readonly free: number;
  readonly capacity: number;
  /** Addresses that are free but for their quarantine. */
  readonly quarantined: number;
  /** Until the first of those ends. */
  readonly nextFreeMs: number | undefined;
  /** Values that are being leased or given back at this moment. */
  readonly settling: number;
}

/**
 * @param of what the values are of, e.g. `subnet 10.77.0.0/24`
 * @param remedy what to choose instead
 */
export function leaseExhausted(kind: LeaseKind, of: string, shortage: Shortage, remedy: string): VmSubstrateError {
  const { needed, free, capacity, quarantined, nextFreeMs, settling } = shortage;
  const values = kind === "address" ? "addresses" : `${kind}s`;
  const waiting =
    nextFreeMs === undefined
      ? ""
      : `; ${free === 0 ? "only quarantined ones are left: " : ""}${quarantined} given back lately, the next is free in ${Math.ceil(nextFreeMs)} ms`;
  const moving = settling === 0 ? "" : `; ${settling} are being leased or given back at this moment`;
  const message = `${of} has ${free} free of ${capacity} ${values}, ${needed} are needed${waiting}${moving}; ${remedy}`;
  return new VmSubstrateError("LEASE_EXHAUSTED", message, { details: { kind, of, ...shortage } });
}
