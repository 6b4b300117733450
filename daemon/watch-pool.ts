import type { Pool, VmSubstrateError } from "../lib/index.ts";
import { isVmSubstrateError } from "../lib/index.ts";
import type { EventLog } from "./event-log.ts";
import type { Metrics } from "./metrics.ts";
import { problemOf } from "./problem.ts";
import type { Stats } from "./stats.ts";
import { dockView, substrateView, vmView } from "./views.ts";

/** Tells of everything that happens in a pool. */
export function watchPool(pool: Pool, events: EventLog, stats: Stats, metrics: Metrics): void {
  const { on } = bound(pool.events);
  on("activated", (vm) => {
    stats.activated(vm);
    metrics.activated(vm);
    events.add("activated", { vm: vmView(vm) });
  });
  for (const type of ["released", "parked", "resumed", "shrunk", "responsive", "extended"] as const) {
    on(type, (vm) => events.add(type, { vm: vmView(vm) }));
  }
  on("exit", (vm, { code, signal }) => events.add("exit", { vm: vmView(vm), code, signal }));
  on("unresponsive", (vm, error) => events.add("unresponsive", { vm: vmView(vm), error: problemOf(error) }));
  on("forked", (vm, report) => events.add("forked", { vm: vmView(vm), report }));
  on("waiting", (call) => events.add("waiting", { ...call }));
  on("failed", ({ error, ...call }) => {
    stats.failed(call.count);
    metrics.failed(call.what, codeOf(error));
    events.add("failed", { ...call, error: problemOf(error) });
  });
  on("dock", (status) => events.add("dock", { dock: dockView(status) }));
  on("undocked", (dock) => events.add("undocked", { dock: { ...dock } }));
  on("built", (substrate) => events.add("built", { substrate: substrateView(substrate) }));
  on("removed", (substrate) => events.add("removed", { substrate: { ...substrate } }));
}

function codeOf(error: Error | VmSubstrateError): string {
  return isVmSubstrateError(error) ? error.code : "INTERNAL_ERROR";
}

function bound<Source extends Pool["events"]>(source: Source): { readonly on: Source["on"] } {
  return { on: source.on.bind(source) };
}
