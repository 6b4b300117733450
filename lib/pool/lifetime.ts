import { VmSubstrateError } from "../core/index.ts";

/** What becomes of a VM whose time is over. */
export const ON_EXPIRY = ["release", "park"] as const;
export type OnExpiry = (typeof ON_EXPIRY)[number];

/** How long a VM may live. Times are milliseconds of CLOCK_MONOTONIC, so that a clock that is set changes nothing. */
export interface Lifetime {
  readonly onExpiry: OnExpiry;
  /** When `onExpiry` is done, unless the VM is extended before. */
  readonly expiresAtMs?: number | undefined;
  /** When the VM is released, whatever was extended. */
  readonly endsAtMs?: number | undefined;
}

export interface LifetimeSpec {
  readonly ttlMs?: number | undefined;
  readonly maxLifetimeMs?: number | undefined;
  readonly onExpiry: OnExpiry;
}

/** A lifetime that begins at `nowMs`. */
export function beginLifetime({ ttlMs, maxLifetimeMs, onExpiry }: LifetimeSpec, nowMs: number): Lifetime {
  const endsAtMs = maxLifetimeMs === undefined ? undefined : nowMs + maxLifetimeMs;
  const expiresAtMs = ttlMs === undefined ? undefined : Math.min(nowMs + ttlMs, endsAtMs ?? Number.POSITIVE_INFINITY);
  return { onExpiry, expiresAtMs, endsAtMs };
}

/** @throws VmSubstrateError INVALID_ARGUMENT when the greatest lifetime would be exceeded */
export function extendLifetime(lifetime: Lifetime, nowMs: number, byMs: number): Lifetime {
  const { endsAtMs = Number.POSITIVE_INFINITY } = lifetime;
  const expiresAtMs = nowMs + byMs;
  if (expiresAtMs <= endsAtMs) return { ...lifetime, expiresAtMs };
  const left = Math.max(0, Math.round(endsAtMs - nowMs));
  const message = `extend: the VM's greatest lifetime ends in ${left} ms; ${byMs} ms are beyond it`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { leftMs: left, wantedMs: byMs } });
}

/** What is to be done next, and when; undefined when nothing ever. */
export function nextDue(lifetime: Lifetime): { readonly atMs: number; readonly what: OnExpiry } | undefined {
  const { expiresAtMs, endsAtMs, onExpiry } = lifetime;
  if (endsAtMs !== undefined && (expiresAtMs === undefined || endsAtMs <= expiresAtMs)) {
    return { atMs: endsAtMs, what: "release" };
  }
  return expiresAtMs === undefined ? undefined : { atMs: expiresAtMs, what: onExpiry };
}
