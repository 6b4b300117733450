import type { DaemonEvent, OperationView, Second, VmView } from "../../api/index.ts";
import { isLong } from "./operations.ts";
import {
  type Action,
  CHART_SECONDS,
  dockKey,
  MAX_ACTIVATIONS,
  MAX_ENDED,
  MAX_ENDED_OPERATIONS,
  MAX_LOG,
  type State,
} from "./state.ts";
import { comparePlain } from "./vm-list.ts";

/** Clocks that differ by less are taken to be one; a tick's second is whole, and took its time to come. */
const SMALLEST_SKEW_MS = 3000;

/** What the page knows after an action. Pure; an action that comes twice changes nothing the second time. */
export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "stream":
      return { ...state, stream: action.stream };
    case "snapshot": {
      const { vms, docks, memory } = action.snapshot;
      const here = vms.filter((vm) => !hasEnded(vm));
      return {
        ...state,
        vms: new Map(here.map((vm) => [vm.id, vm])),
        ended: new Map([...state.ended].filter(([id]) => !here.some((vm) => vm.id === id))),
        docks: new Map(docks.map((dock) => [dockKey(dock), dock])),
        memory,
        activations: latest([...state.activations, ...here]),
      };
    }
    case "event":
      return withEvent(state, action.event);
    case "tick": {
      const { second, memory } = action.tick;
      const skewMs = second.at * 1000 - action.now;
      return {
        ...state,
        memory,
        seconds: withSeconds(state.seconds, [second]),
        skewMs: Math.abs(skewMs) < SMALLEST_SKEW_MS ? 0 : skewMs,
      };
    }
    case "stats":
      return { ...state, seconds: withSeconds(state.seconds, action.seconds) };
    case "substrates":
      return { ...state, substrates: action.substrates };
    case "operations":
      return { ...state, operations: action.operations.reduce(withOperation, state.operations) };
  }
}

function withEvent(state: State, event: DaemonEvent): State {
  // After a reconnection the daemon may repeat what was on its way when the connection broke. An id alone says too little: a
  // daemon that began anew may count from the beginning.
  if (state.log.some(({ id, at }) => id === event.id && at === event.at)) return state;
  const logged: State = { ...state, log: [event, ...state.log].slice(0, MAX_LOG) };
  switch (event.type) {
    case "activated":
      return { ...withVm(logged, event.data.vm), activations: latest([event.data.vm, ...state.activations]) };
    case "released":
    case "exit":
      return withVm(logged, event.data.vm, true);
    case "parked":
    case "resumed":
    case "shrunk":
    case "extended":
    case "unresponsive":
    case "responsive":
    case "forked":
      return withVm(logged, event.data.vm);
    case "dock": {
      const { dock } = event.data;
      return { ...logged, docks: new Map(state.docks).set(dockKey(dock), dock) };
    }
    case "undocked": {
      const docks = new Map(state.docks);
      docks.delete(dockKey(event.data.dock));
      return { ...logged, docks };
    }
    case "built": {
      const { substrate } = event.data;
      return { ...logged, substrates: [...without(state, substrate), substrate] };
    }
    case "removed":
      return { ...logged, substrates: without(state, event.data.substrate) };
    case "operation":
      return { ...logged, operations: withOperation(state.operations, event.data.operation) };
    case "waiting":
    case "failed":
      return logged;
    default:
      // A newer daemon may say more than this page knows: it is shown in the log, and changes nothing.
      return logged;
  }
}

function hasEnded({ state }: VmView): boolean {
  return state === "released" || state === "failed";
}

function withVm(state: State, vm: VmView, ends = hasEnded(vm)): State {
  const vms = new Map(state.vms);
  if (!ends) {
    // One that has ended stays so, whatever is heard late.
    return state.ended.has(vm.id) ? state : { ...state, vms: vms.set(vm.id, vm) };
  }
  vms.delete(vm.id);
  const ended = [...state.ended].filter(([id]) => id !== vm.id);
  return { ...state, vms, ended: new Map([...ended, [vm.id, vm] as const].slice(-MAX_ENDED)) };
}

/** The latest activations first, each VM once. */
function latest(vms: readonly VmView[]): readonly VmView[] {
  const byId = new Map(vms.map((vm) => [vm.id, vm]));
  return [...byId.values()].toSorted((a, b) => comparePlain(b.createdAt, a.createdAt)).slice(0, MAX_ACTIVATIONS);
}

function without(state: State, { name, version }: { readonly name: string; readonly version: number }) {
  return (state.substrates ?? []).filter((other) => other.name !== name || other.version !== version);
}

function withSeconds(known: readonly Second[] = [], more: readonly Second[]): readonly Second[] {
  const last = known.at(-1);
  const [first] = more;
  // A tick follows the last second, nearly always: no need to sort.
  if (more.length === 1 && first !== undefined && (last === undefined || first.at > last.at)) {
    return recent([...known, first]);
  }
  const byTime = new Map([...known, ...more].map((second) => [second.at, second]));
  return recent([...byTime.values()].toSorted((a, b) => a.at - b.at));
}

function recent(seconds: readonly Second[]): readonly Second[] {
  const after = (seconds.at(-1)?.at ?? 0) - CHART_SECONDS;
  return seconds.filter(({ at }) => at > after);
}

function withOperation(
  operations: ReadonlyMap<string, OperationView>,
  operation: OperationView,
): ReadonlyMap<string, OperationView> {
  const before = operations.get(operation.id);
  if (before !== undefined && before.state !== "running" && operation.state === "running") return operations;
  // Every claim is an operation, and over in no time: what came of it is told by other events.
  const all = [...new Map(operations).set(operation.id, operation).values()].filter(
    (one) => one.state === "running" || one.state === "failed" || isLong(one, Date.parse(one.endedAt ?? one.createdAt)),
  );
  const ended = all.filter(({ state }) => state !== "running");
  const gone = new Set(ended.slice(0, -MAX_ENDED_OPERATIONS).map(({ id }) => id));
  return new Map(all.filter(({ id }) => !gone.has(id)).map((one) => [one.id, one]));
}
