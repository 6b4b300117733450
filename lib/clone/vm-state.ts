import type { VmSubstrateError } from "../core/index.ts";
import type { ExitCause } from "../host/index.ts";

/** `docked`: a waiting clone was claimed. `cloned`: made when it was asked for. `booted`: the baseline's cold boot. `forked`: of a running VM. */
export const VM_ORIGINS = ["docked", "cloned", "booted", "forked"] as const;
export type VmOrigin = (typeof VM_ORIGINS)[number];

/**
 * `parked`: paused, with all that it holds. `unresponsive`: it runs, as far as we know, but does not answer; it may come back.
 * `detached`: its pool was closed and left it to the next one. `released` and `failed` are ends: by `release()` or expiry, and
 * by the end of its QEMU.
 */
export type VmState = "running" | "parked" | "unresponsive" | "detached" | "released" | "failed";

/** Whether there is nothing more to be done with such a VM, by this handle of it. */
export function isEnd(state: VmState): boolean {
  return state === "released" || state === "failed" || state === "detached";
}

export type VmEvents = {
  /** QEMU ended without being asked to. The VM's resources were given back. */
  exit: [cause: ExitCause];
  released: [];
  parked: [];
  resumed: [];
  /** It has less memory than before: see its `resources`. */
  shrunk: [];
  /** The monitor or the guest agent did not answer in time. */
  unresponsive: [error: VmSubstrateError];
  /** It answers again. */
  responsive: [];
};
