import { describe, expect, it } from "vitest";
import type { DockView, OperationView, VmView } from "../../api/index.ts";
import { Http } from "../../client/http.ts";
import { Mirror } from "../../client/mirror.ts";
import { OperationCalls } from "../../client/operations.ts";
import { RemoteVm } from "../../client/remote-vm.ts";

const view = (id: string, more: Partial<VmView> = {}): VmView => ({
  id,
  hostname: `host-${id}`,
  address: "10.77.0.1",
  address6: null,
  mac: "02:00:00:00:00:01",
  machineId: "0".repeat(32),
  sshHostKey: "ssh-ed25519 AAAA",
  substrate: { name: "mini", version: 1 },
  resources: { cpus: 1, memoryMiB: 96, diskMiB: 256 },
  origin: "cloned",
  state: "running",
  labels: {},
  createdAt: "2026-01-01T00:00:00.000Z",
  expiresAt: null,
  pid: 1,
  timings: { totalMs: 1, phasesMs: {} },
  ...more,
});

const dock = (more: Partial<DockView> = {}): DockView => ({
  substrate: "mini",
  version: 1,
  pinned: false,
  primed: true,
  ready: 0,
  starting: 0,
  target: 0,
  min: 0,
  max: 1,
  maxMiB: null,
  memoryMiB: null,
  failures: 0,
  breaker: "closed",
  lastError: null,
  ...more,
});

const MEMORY = { clones: 0, bytes: 0, perVmBytes: 0, budgetBytes: null };

function start() {
  const http = new Http({ origin: "http://localhost" });
  const heard: unknown[] = [];
  const operations: OperationView[] = [];
  const mirror: Mirror = new Mirror({
    make: (of) =>
      new RemoteVm(of, {
        http,
        operations: new OperationCalls(http),
        handleOf: (one) => mirror.handleOf(one),
        onReleased: (vm) => mirror.released(vm),
      }),
    onOperation: (operation) => operations.push(operation),
  });
  for (const name of ["activated", "released", "exit", "parked", "dock", "undocked"] as const) {
    mirror.events.on(name, (...[one]: readonly object[]) =>
      heard.push([name, one !== undefined && "id" in one ? one.id : undefined]),
    );
  }
  const take = (type: string, data: unknown) => mirror.take(type, { type, at: "", data });
  const snapshot = (vms: VmView[], docks: DockView[] = []) => mirror.take("snapshot", { vms, docks, memory: MEMORY });
  return { mirror, heard, take, snapshot, ids: () => mirror.vms.map(({ id }) => id) };
}

describe("what a client knows of its daemon", () => {
  it("is right again after a missed end, and says so", () => {
    const { mirror, heard, snapshot, ids } = start();
    snapshot([view("a"), view("b", { state: "parked" })]);
    const [a, b] = mirror.vms;
    snapshot([view("b"), view("c")]);
    expect(ids()).toEqual(["b", "c"]);
    expect([a?.state, b?.state]).toEqual(["released", "running"]);
    expect(mirror.vms[0]).toBe(b);
    expect(heard).toEqual([["released", "a"]]);
  });

  it("has no VM again that has ended, whatever comes late", () => {
    const { mirror, take, ids } = start();
    take("released", { vm: view("a", { state: "released" }) });
    take("exit", { vm: view("b", { state: "failed" }), code: 1, signal: null });
    // The answer to the call that made them, on another connection than the events.
    for (const id of ["a", "b"]) expect(mirror.handleOf(view(id)).state).toBe("released");
    take("parked", { vm: view("a", { state: "parked" }) });
    take("unresponsive", { vm: view("b"), error: { code: "VM_UNRESPONSIVE", detail: "" } });
    expect(ids()).toEqual([]);
  });

  it("gives one handle for each VM, which follows", () => {
    const { mirror, take, heard } = start();
    take("activated", { vm: view("a") });
    const [vm] = mirror.vms;
    expect(mirror.handleOf(view("a"))).toBe(vm);
    take("parked", { vm: view("a", { state: "parked" }) });
    take("extended", { vm: view("a", { state: "parked", expiresAt: "2027-01-01T00:00:00.000Z" }) });
    expect([vm?.state, vm?.expiresAt?.getUTCFullYear()]).toEqual(["parked", 2027]);
    take("exit", { vm: view("a", { state: "failed" }), code: null, signal: "SIGKILL" });
    take("exit", { vm: view("a", { state: "failed" }), code: null, signal: "SIGKILL" });
    take("released", { vm: view("a", { state: "released" }) });
    expect(vm?.state).toBe("failed");
    expect(heard).toEqual([
      ["activated", "a"],
      ["parked", "a"],
      ["exit", "a"],
    ]);
  });

  it("shows no memory again that a VM has given back, by an event that comes late", () => {
    const { mirror, take } = start();
    const has = (memoryMiB: number) => ({ vm: view("a", { resources: { cpus: 1, memoryMiB, diskMiB: 8 } }) });
    take("activated", has(385));
    const [vm] = mirror.vms;
    const heard: (number | undefined)[] = [];
    vm?.events.on("shrunk", () => void heard.push(vm.resources.memoryMiB));
    vm?.follow(has(129).vm); // the answer to the call
    take("shrunk", has(257));
    take("shrunk", has(129));
    expect(vm?.resources.memoryMiB).toBe(129);
    expect(heard).toEqual([129]);
  });

  it("keeps the dock of a version beside that of the newest, and one as it moves on", () => {
    const { mirror, take } = start();
    take("dock", { dock: dock({ max: 1 }) });
    take("dock", { dock: dock({ pinned: true, max: 2 }) });
    expect(mirror.docks.map(({ pinned, max }) => [pinned, max])).toEqual([
      [false, 1],
      [true, 2],
    ]);
    take("dock", { dock: dock({ version: 2, max: 1 }) });
    expect(mirror.docks.map(({ pinned, version }) => [pinned, version])).toEqual([
      [false, 2],
      [true, 1],
    ]);
    take("undocked", { dock: { substrate: "mini", version: 2, pinned: false } });
    expect(mirror.docks).toMatchObject([{ pinned: true }]);
    mirror.forgetDock("mini");
    expect(mirror.docks).toHaveLength(1);
    mirror.forgetDock("mini@1");
    expect(mirror.docks).toEqual([]);
  });
});
