import type { ForkOptions } from "./fork-options.ts";
import type { FreezeOptions, Frozen } from "./freeze-options.ts";

/** A VM's lifetime as its user sees it. */
export interface Expiry {
  /** When the VM will be released or parked unless it is extended. */
  readonly at: Date;
}

/**
 * What a VM needs of whoever owns it: to make each change of its life durable before it is made, and to know of its end.
 * The pool is the one owner; a VM does not know about stores, leases or timers.
 */
export interface VmOwner<Vm> {
  /** The guest is about to be paused, for long. */
  parking(): Promise<void>;
  /** A parked guest is about to run again. */
  resuming(): Promise<void>;
  /** The VM is about to be ended. */
  releasing(): Promise<void>;
  /** Nothing is left of the VM but what the owner holds for it. */
  gone(): Promise<void>;
  /** Memory was taken away: so much is left. */
  shrunk(memoryMiB: number): Promise<void>;
  /** @returns the new expiry @throws VmSubstrateError INVALID_ARGUMENT beyond the greatest lifetime */
  extend(ms: number): Promise<Expiry>;
  /** @throws VmSubstrateError as `Vm.fork` */
  fork(source: Vm, count: number, options: ForkOptions): Promise<Vm[]>;
  /** @throws VmSubstrateError as `Vm.freeze` */
  freeze(source: Vm, options: FreezeOptions): Promise<Frozen>;
  readonly expiry: Expiry | undefined;
}
