import { afterEach, describe, expect, it, vi } from "vitest";
import type { Vm } from "../../lib/clone/index.ts";
import { eventually } from "../support/eventually.ts";
import { openFakePool } from "../support/fake-host.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, announced, fakeOf, said } from "../support/vms.ts";

const HOUR_MS = 3_600_000;
/** What lib/netcfg takes for a right clock, with room for a slow machine. */
const RIGHT_MS = 2000;

async function clockOf(vm: Vm): Promise<number> {
  return Number(await said(vm, "date", "+%s%3N"));
}

describe("a parked VM", () => {
  it("is paused, keeps what it has, and says so", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    const seen = announced(fake.pool);
    await vm.writeFile("/root/score", "7");
    await vm.park();
    expect(vm.state).toBe("parked");
    expect(fakeOf(fake, vm).steps.at(-1)).toBe("stop");
    for (const call of [vm.exec(["true"]), vm.readFile("/root/score"), vm.writeFile("/root/score", "8")]) {
      await expect(call).rejects.toMatchObject({ code: "VM_PARKED", details: { id: vm.id } });
    }
    await vm.resume();
    expect(vm.state).toBe("running");
    expect(new TextDecoder().decode(await vm.readFile("/root/score"))).toBe("7");
    expect(seen).toEqual(["parked fake-0", "resumed fake-0"]);
  });

  it("has its clock set before anybody can use it again", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await fakeOf(fake, vm).follow({ pausesMs: HOUR_MS });
    await vm.park();
    await vm.resume();
    expect(Math.abs((await clockOf(vm)) - Date.now())).toBeLessThan(RIGHT_MS);
  });

  it("is parked and resumed once, however often that is asked for", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    const seen = announced(fake.pool);
    await Promise.all([vm.park(), vm.park(), vm.park()]);
    await vm.park();
    await Promise.all([vm.resume(), vm.resume()]);
    await vm.resume();
    expect(seen).toEqual(["parked fake-0", "resumed fake-0"]);
    expect(fakeOf(fake, vm).steps.filter((step) => step === "stop")).toHaveLength(1);
  });

  it("can be released, and leaves nothing", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await vm.park();
    await vm.release();
    await expectNothingLeft(fake.host.paths, { open: true });
    for (const call of [vm.park(), vm.resume(), vm.exec(["true"])]) {
      await expect(call).rejects.toMatchObject({ code: "VM_GONE", details: { state: "released" } });
    }
  });
});

type Call = "park" | "resume" | "release";

function ordersOf<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, i) => ordersOf(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}

describe("park, resume and release at the same time", () => {
  const orders = ordersOf<Call>(["park", "resume", "release"]).flatMap((order) => [
    [order, "running"] as const,
    [order, "parked"] as const,
  ]);

  it.each(orders)("in the order %j, of a %s VM, end it", async (order, from) => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    if (from === "parked") await vm.park();
    const seen = announced(fake.pool);
    const results = await Promise.allSettled(order.map((call) => vm[call]()));
    const at = order.indexOf("release");
    expect(results[at]?.status).toBe("fulfilled");
    for (const [i, result] of results.entries()) {
      if (i !== at && result.status === "rejected") expect(result.reason).toMatchObject({ code: "VM_GONE" });
      if (i > at) expect(result.status).toBe("rejected");
    }
    expect(vm.state).toBe("released");
    expect(seen.filter((one) => one.startsWith("released"))).toHaveLength(1);
    expect(seen.at(-1)).toBe("released fake-0");
    await vm.release();
    expect(fake.pool.vms).toEqual([]);
    await expectNothingLeft(fake.host.paths, { open: true });
    expect(await fake.pool.gc()).toMatchObject({ records: [], leases: [], processes: [] });
  });

  it.each<Call>(["park", "resume"])("a release while %s waits for QEMU ends it for good", async (call) => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    if (call === "resume") await vm.park();
    const seen = announced(fake.pool);
    const machine = fakeOf(fake, vm);
    const before = machine.steps.length;
    const step = call === "park" ? "stop" : "cont";
    await machine.follow({ at: { [step]: "hold" } });
    const calling = vm[call]();
    calling.catch(() => {});
    await eventually(() => expect(machine.steps.slice(before)).toContain(step));
    const released = vm.release();
    machine.pass(step); // answered while the VM is already being ended
    await released;
    await expect(calling).rejects.toMatchObject({ code: "VM_GONE" });
    expect(vm.state).toBe("released");
    expect(seen).toEqual(["released fake-0"]);
  });
});

describe("a VM that is resumed", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it("and whose guest does not answer is parked again", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    const machine = fakeOf(fake, vm);
    await vm.park();
    const seen = announced(fake.pool);
    await machine.follow({ at: { personalise: "hold" } });
    const asked = machine.requests.length;
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const resuming = vm.resume();
    resuming.catch(() => {});
    await eventually(() => expect(machine.requests.length).toBeGreaterThan(asked));
    vi.advanceTimersByTime(5000);
    vi.useRealTimers();
    await expect(resuming).rejects.toMatchObject({ code: "VM_UNRESPONSIVE", details: { id: vm.id } });
    expect(vm.state).toBe("parked");
    expect(machine.steps.at(-1)).toBe("stop");
    expect(seen).toEqual([]);
    await machine.follow({});
    machine.pass("personalise");
    await vm.resume();
    expect(await said(vm, "hostname")).toBe("fake-0");
  });

  it("and shows another identity is parked again", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await vm.park();
    await fakeOf(fake, vm).follow({ lies: { hostname: "localhost" } });
    await expect(vm.resume()).rejects.toMatchObject({ code: "IDENTITY_UNVERIFIED" });
    expect(vm.state).toBe("parked");
    await fakeOf(fake, vm).follow({});
    await vm.resume();
    expect(vm.state).toBe("running");
  });

  it("and whose QEMU ends is gone, and says so once", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await vm.park();
    const seen = announced(fake.pool);
    await fakeOf(fake, vm).follow({ at: { cont: "die" } });
    await expect(vm.resume()).rejects.toMatchObject({ code: "VM_GONE" });
    await eventually(() => expect(seen).toEqual(["exit fake-0"]));
    expect(fake.pool.vms).toEqual([]);
  });

  it("and whose QEMU refuses is still parked", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await vm.park();
    await fakeOf(fake, vm).follow({ at: { cont: "fail" } });
    await expect(vm.resume()).rejects.toMatchObject({ code: "VM_UNRESPONSIVE" });
    expect(vm.state).toBe("parked");
  });
});

describe("a VM that is parked", () => {
  it("and whose QEMU refuses runs on", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await fakeOf(fake, vm).follow({ at: { stop: "fail" } });
    await expect(vm.park()).rejects.toMatchObject({ code: "VM_UNRESPONSIVE" });
    expect(vm.state).toBe("running");
    await fake.pool.close({ vms: "keep" });
    await fakeOf(fake, vm).follow({});
    await using next = await fake.host.open();
    expect(next.vms.map(({ state }) => state)).toEqual(["running"]);
  });
});
