import { describe, expect, it } from "vitest";
import type { DaemonEvent, EventType, VmView } from "../../api/index.ts";
import { reduce } from "../../web/state/reducer.ts";
import {
  type Action,
  CHART_SECONDS,
  INITIAL,
  MAX_ACTIVATIONS,
  MAX_ENDED,
  MAX_LOG,
  type State,
} from "../../web/state/state.ts";
import { fakeDock, fakeMemory, fakeOperation, fakeSecond, fakeSubstrate, fakeVm } from "../support/fake-views.ts";

let lastId = 0;
function event<Type extends EventType>(type: Type, data: Extract<DaemonEvent, { type: Type }>["data"]): Action {
  lastId += 1;
  return { type: "event", event: { id: `e${lastId}`, type, at: "2026-01-15T12:00:00Z", data } as DaemonEvent };
}

function stateAfter(...actions: readonly Action[]): State {
  return actions.reduce(reduce, INITIAL);
}

function snapshot(vms: readonly VmView[] = []): Action {
  return { type: "snapshot", snapshot: { vms: [...vms], docks: [fakeDock()], memory: fakeMemory() } };
}

function ids(state: State): string[] {
  return [...(state.vms?.keys() ?? [])];
}

describe("a snapshot", () => {
  it("is all that there is, and takes away what is not in it", () => {
    const state = stateAfter(snapshot([fakeVm(1), fakeVm(2)]), snapshot([fakeVm(2)]));
    expect(ids(state)).toEqual([fakeVm(2).id]);
    expect([...(state.docks?.keys() ?? [])]).toEqual(["mini"]);
  });

  it("leaves out VMs that have ended, and gives the latest activations", () => {
    const state = stateAfter(snapshot([fakeVm(1), fakeVm(2, { state: "failed" }), fakeVm(3)]));
    expect(ids(state)).toEqual([fakeVm(1).id, fakeVm(3).id]);
    expect(state.activations.map(({ id }) => id)).toEqual([fakeVm(3).id, fakeVm(1).id]);
  });
});

describe("events of VMs", () => {
  it("add a VM, change it, and take it away to those that have ended", () => {
    const added = stateAfter(snapshot(), event("activated", { vm: fakeVm(1) }));
    expect(ids(added)).toEqual([fakeVm(1).id]);
    const parked = reduce(added, event("parked", { vm: fakeVm(1, { state: "parked" }) }));
    expect(parked.vms?.get(fakeVm(1).id)?.state).toBe("parked");
    const gone = reduce(parked, event("released", { vm: fakeVm(1, { state: "released" }) }));
    expect(ids(gone)).toEqual([]);
    expect([...gone.ended.keys()]).toEqual([fakeVm(1).id]);
  });

  it("take a VM away that ended by itself, whatever state it is told with", () => {
    const state = stateAfter(snapshot([fakeVm(1)]), event("exit", { vm: fakeVm(1), code: null, signal: "SIGKILL" }));
    expect(ids(state)).toEqual([]);
  });

  it("do not bring one back that has ended", () => {
    const ended = stateAfter(snapshot([fakeVm(1)]), event("released", { vm: fakeVm(1, { state: "released" }) }));
    expect(ids(reduce(ended, event("responsive", { vm: fakeVm(1) })))).toEqual([]);
  });

  it("that come twice change nothing the second time", () => {
    const action = event("activated", { vm: fakeVm(1) });
    const once = stateAfter(snapshot(), action);
    expect(reduce(once, action)).toBe(once);
  });

  it("of a daemon that counts from the beginning again are other events", () => {
    const first = event("activated", { vm: fakeVm(1) });
    if (first.type !== "event") throw new Error("no event");
    const second: Action = { type: "event", event: { ...first.event, at: "2026-01-15T13:00:00Z" } };
    expect(stateAfter(snapshot(), first, second).log).toHaveLength(2);
  });

  it("leave the state that they were applied to as it was", () => {
    const before = stateAfter(snapshot([fakeVm(1)]));
    reduce(before, event("released", { vm: fakeVm(1) }));
    expect(ids(before)).toEqual([fakeVm(1).id]);
  });

  it("keep the latest activations, log and ended VMs within bounds, the latest first", () => {
    let state = stateAfter(snapshot());
    for (let number = 1; number <= MAX_LOG + 10; number++) {
      state = reduce(state, event("activated", { vm: fakeVm(number) }));
      state = reduce(state, event("released", { vm: fakeVm(number, { state: "released" }) }));
    }
    expect(state.log).toHaveLength(MAX_LOG);
    expect(state.log[0]?.type).toBe("released");
    expect(state.activations).toHaveLength(MAX_ACTIVATIONS);
    expect(state.activations[0]?.id).toBe(fakeVm(MAX_LOG + 10).id);
    expect(state.ended.size).toBe(MAX_ENDED);
  });
});

describe("events of docks and substrates", () => {
  it("change one dock, and a pinned one is another than the one of its name", () => {
    const pinned = fakeDock({ pinned: true, version: 2 });
    const state = stateAfter(
      snapshot(),
      event("dock", { dock: fakeDock({ ready: 3 }) }),
      event("dock", { dock: pinned }),
    );
    expect([...(state.docks ?? [])].map(([key, { ready }]) => [key, ready])).toEqual([
      ["mini", 3],
      ["mini@2", 6],
    ]);
    expect([...(reduce(state, event("undocked", { dock: pinned })).docks?.keys() ?? [])]).toEqual(["mini"]);
  });

  it("add and remove versions of substrates", () => {
    const state = stateAfter(
      event("built", { substrate: fakeSubstrate() }),
      event("built", { substrate: fakeSubstrate({ version: 4 }) }),
    );
    expect(state.substrates?.map(({ version }) => version)).toEqual([3, 4]);
    const less = reduce(state, event("removed", { substrate: { name: "mini", version: 3 } }));
    expect(less.substrates?.map(({ version }) => version)).toEqual([4]);
  });

  it("follow an operation to its end, and not back", () => {
    const endedAt = "2026-01-15T12:01:00.000Z";
    const done = stateAfter(event("operation", { operation: fakeOperation({ state: "succeeded", endedAt }) }));
    const late = reduce(done, { type: "operations", operations: [fakeOperation()] });
    expect(late.operations.get("op1")?.state).toBe("succeeded");
  });

  it("forget operations that were over in no time, unless they failed", () => {
    const endedAt = "2026-01-15T12:00:00.050Z";
    const state = stateAfter(
      event("operation", { operation: fakeOperation() }),
      event("operation", { operation: fakeOperation({ state: "succeeded", endedAt }) }),
      event("operation", { operation: fakeOperation({ id: "op2", state: "failed", endedAt }) }),
    );
    expect([...state.operations.keys()]).toEqual(["op2"]);
  });

  it("of a type that the page does not know are in the log, and change nothing", () => {
    const state = stateAfter(snapshot([fakeVm(1)]));
    const novel = { id: "x", type: "novel", at: "2026-01-15T12:00:00Z", data: {} } as unknown as DaemonEvent;
    const next = reduce(state, { type: "event", event: novel });
    expect(next.log).toEqual([novel]);
    expect(next.vms).toBe(state.vms);
  });
});

describe("seconds", () => {
  const tick = (at: number, now = at * 1000): Action => ({
    type: "tick",
    tick: { second: fakeSecond(at), memory: fakeMemory() },
    now,
  });

  it("are those of the daemon and the ticks after them, each once and in order", () => {
    const seconds = [fakeSecond(10), fakeSecond(11, { claims: 1 }), fakeSecond(12)];
    const state = stateAfter(tick(12), tick(13), { type: "stats", seconds });
    expect(state.seconds?.map(({ at }) => at)).toEqual([10, 11, 12, 13]);
  });

  it("go back ten minutes", () => {
    const seconds = Array.from({ length: CHART_SECONDS }, (_, i) => fakeSecond(i + 1));
    const state = stateAfter({ type: "stats", seconds }, tick(CHART_SECONDS + 5));
    expect(state.seconds?.[0]?.at).toBe(6);
  });

  it("tell how far the two clocks are apart, when it is far", () => {
    expect(stateAfter(tick(1000, 1_001_500)).skewMs).toBe(0);
    expect(stateAfter(tick(1000, 940_000)).skewMs).toBe(60_000);
  });
});
