import type { ForkReport, Vm, VmEvents } from "../clone/index.ts";
import type { Events, VmSubstrateError } from "../core/index.ts";
import type { SubstrateVersion } from "../substrate/index.ts";
import type { DockStatus } from "./options.ts";
import type { SubstrateInfo } from "./substrate-info.ts";

/** What happens in a pool, for logs, pages and operators. */
export type PoolEvents = {
  /** A VM was handed out. */
  activated: [vm: Vm];
  /** A call with `wait: true` waits for memory or addresses; 1 is the next. Again whenever its place changes. */
  waiting: [call: { readonly substrate: string; readonly count: number; readonly position: number }];
  /** Others were made of a VM, which stood still for a moment. */
  forked: [source: Vm, report: ForkReport];
  released: [vm: Vm];
  /** A VM's QEMU ended without being asked to. */
  exit: [vm: Vm, ...VmEvents["exit"]];
  parked: [vm: Vm];
  resumed: [vm: Vm];
  /** Memory was taken away from it. */
  shrunk: [vm: Vm];
  /** Its expiry was put off, or set. */
  extended: [vm: Vm];
  unresponsive: [vm: Vm, error: VmSubstrateError];
  responsive: [vm: Vm];
  /** A call that makes VMs has failed, or, of a settled one, each VM that it could not make. Not one that was refused as invalid. */
  failed: [
    call: {
      readonly callId: string;
      readonly what: "activate" | "coldBoot" | "fork";
      readonly substrate: string;
      /** How many VMs were not made. */
      readonly count: number;
      readonly error: VmSubstrateError | Error;
    },
  ];
  /** A dock is another than before; of each dock at most once in a turn of the event loop. */
  dock: [status: DockStatus];
  /** A dock was taken away; its clones may still be ending. */
  undocked: [dock: Pick<DockStatus, "substrate" | "version" | "pinned">];
  /** A version was added to the catalog: it was built, imported or frozen. */
  built: [substrate: SubstrateInfo];
  /** A version was removed from the catalog. */
  removed: [version: SubstrateVersion];
};

/** The telling half of a pool's events. */
export type Announcer = Pick<Events<PoolEvents>, "announce">;
