import type { DaemonEvent } from "../../api/index.ts";
import { formatBytes, formatCount, formatMs } from "../format/units.ts";
import { dockKey } from "./state.ts";
import { substrateName } from "./vm-list.ts";

export type Tone = "good" | "plain" | "warn" | "bad";

/** One event in a line of words. */
export function describeEvent(event: DaemonEvent): string {
  switch (event.type) {
    case "activated": {
      const { hostname, origin, timings, substrate } = event.data.vm;
      return `${hostname} of ${substrateName(substrate)}, ${origin}, after ${formatMs(timings.totalMs)}`;
    }
    case "exit": {
      const { vm, code, signal } = event.data;
      return `${vm.hostname} ended by itself: ${signal ?? (code === null ? "cause unknown" : `status ${code}`)}`;
    }
    case "extended":
      return `${event.data.vm.hostname} expires ${event.data.vm.expiresAt ?? "never"}`;
    case "shrunk":
      return `${event.data.vm.hostname} has ${formatBytes(event.data.vm.resources.memoryMiB * 2 ** 20)} of memory`;
    case "unresponsive":
      return `${event.data.vm.hostname}: ${event.data.error.detail}`;
    case "released":
    case "parked":
    case "resumed":
    case "responsive":
      return event.data.vm.hostname;
    case "forked": {
      const { vm, report } = event.data;
      return `${vm.hostname}, ${formatCount(report.count, "time")}; it stood still for ${formatMs(report.pauseMs)}, ${formatBytes(report.copiedBytes)} copied`;
    }
    case "waiting": {
      const { substrate, count, position } = event.data;
      return `a call for ${count} of ${substrate} is at place ${position} of the line`;
    }
    case "failed": {
      const { what, count, substrate, error } = event.data;
      return `${what} of ${count} of ${substrate}: ${error.detail} (${error.code})`;
    }
    case "dock": {
      const { substrate, ready, starting, target, breaker } = event.data.dock;
      const parts = [`${ready} ready`, ...(starting > 0 ? [`${starting} starting`] : []), `target ${target}`];
      return `${substrate}: ${parts.join(", ")}${breaker === "closed" ? "" : `; breaker ${breaker}`}`;
    }
    case "undocked":
      return dockKey(event.data.dock);
    case "removed":
    case "built":
      return substrateName(event.data.substrate);
    case "operation": {
      const { kind, state, error } = event.data.operation;
      return error === null ? `${kind}: ${state}` : `${kind}: ${error.detail} (${error.code})`;
    }
    default:
      return "";
  }
}

export function toneOf(event: DaemonEvent): Tone {
  switch (event.type) {
    case "activated":
    case "built":
    case "responsive":
      return "good";
    case "unresponsive":
    case "waiting":
      return "warn";
    case "exit":
    case "failed":
      return "bad";
    case "dock":
      return event.data.dock.breaker === "closed" ? "plain" : "bad";
    case "operation":
      return event.data.operation.state === "failed" ? "bad" : "plain";
    default:
      return "plain";
  }
}
