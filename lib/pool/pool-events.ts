import type { ForkReport, Vm, VmEvents } from "../clone/index.ts";
import type { VmSubstrateError } from "../core/index.ts";

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
  unresponsive: [vm: Vm, error: VmSubstrateError];
  responsive: [vm: Vm];
};
