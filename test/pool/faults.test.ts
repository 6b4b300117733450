import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { ActivateSpec, Pool } from "../../lib/pool/index.ts";
import { type FakePool, openFakePool } from "../support/fake-host.ts";
import type { FakeScript, FakeStep } from "../support/fake-qemu-script.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft, leftovers } from "../support/nothing-left.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
const JOINED: ActivateSpec = { ...SPEC, network: { fabric: "mcast" } };

/** After a failed call: no VM, process, file, open file or lease. */
async function expectUndone({ host, pool }: FakePool): Promise<void> {
  // In the very turn in which the call failed: what is undone later is not undone.
  expect(readdirSync(host.paths.vms)).toEqual([]);
  expect(pool.vms).toEqual([]);
  await expectNothingLeft(host.paths, { open: true });
  await expectNotLeased(pool);
}

/** Asks for what the failed VMs had, in calls that fail on something else if it is free. */
async function expectNotLeased(pool: Pool): Promise<void> {
  for (const i of [0, 1, 2]) {
    const tooFew = { ...SPEC, hostname: `fake-${i}`, network: { addresses: [] } };
    await expect(pool.activate(1, tooFew)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const address = `10.77.0.${i + 1}`;
    const twice = pool.activate(2, { ...SPEC, network: { addresses: [address, address] } });
    await expect(twice).rejects.toThrow("is asked for twice");
  }
}

describe("a fault in one of three VMs leaves none", () => {
  it.each<[string, FakeScript, string, string?]>([
    ["QEMU ends at once", { at: { start: "die" } }, "QEMU_EXITED", "the script ends me at start"],
    ["QEMU ends before its greeting", { at: { greeting: "die" } }, "QEMU_EXITED"],
    ["migrate-incoming is refused", { at: { incoming: "fail" } }, "QMP_COMMAND_FAILED"],
    ["QEMU ends during the load", { at: { load: "die" } }, "QEMU_EXITED", "load of the device state"],
    ["cont is refused", { at: { cont: "fail" } }, "QMP_COMMAND_FAILED"],
    ["QEMU ends at cont", { at: { cont: "die" } }, "QEMU_EXITED"],
    ["QEMU ends after cont", { at: { running: "die" } }, "QEMU_EXITED", "activation"],
    ["QEMU ends while it is personalised", { at: { personalise: "die" } }, "QEMU_EXITED"],
    ["the helper refuses", { at: { personalise: "fail" } }, "GUEST_HELPER_FAILED"],
    ["the guest shows another hostname", { lies: { hostname: "localhost" } }, "IDENTITY_UNVERIFIED", "hostname"],
    ["the guest shows another MAC", { lies: { mac: "eth0,52:54:00:12:34:56" } }, "IDENTITY_UNVERIFIED", "mac"],
    ["the guest shows another address", { lies: { ipv4: "eth0,10.0.2.15,24" } }, "IDENTITY_UNVERIFIED", "ipv4"],
    ["the guest took no entropy", { lies: { entropy: "0" } }, "IDENTITY_UNVERIFIED", "entropy"],
    ["the guest's clock stays wrong", { clockOffsetMs: 3_600_000 }, "IDENTITY_UNVERIFIED", "clock"],
    ["the guest's clock is no number", { lies: { clock: "now" } }, "IDENTITY_UNVERIFIED", "clock"],
    ["the monitor shows another MAC", { rxFilterMac: "52:54:00:12:34:56" }, "IDENTITY_UNVERIFIED", "MAC"],
    ["QEMU ends while it is verified", { at: { "rx-filter": "die" } }, "QEMU_EXITED"],
    ["the fabric cannot be joined", { at: { join: "fail" } }, "QMP_COMMAND_FAILED"],
    ["it cannot be plugged in", { at: { plug: "fail" } }, "QMP_COMMAND_FAILED"],
  ])("%s", async (_, script, code, says = "") => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm === 1 ? script : {});
    const activating = fake.pool.activate(3, JOINED);
    await expect(activating).rejects.toMatchObject({ code, message: expect.stringContaining(says) });
    await expectUndone(fake);
  });

  it("of several faults the first is told", async () => {
    await using fake = await openFakePool({ parallelStarts: 2 });
    fake.qemu.script = (vm) => (vm === 0 ? { at: { cont: "hold" } } : { at: { load: "die" } });
    const activating = fake.pool.activate(2, SPEC);
    await expect(activating).rejects.toMatchObject({ code: "QEMU_EXITED", details: { during: /load/ } });
    await expectUndone(fake);
  });

  it("the substrate is of another QEMU, machine or CPU", async () => {
    await using fake = await openFakePool();
    const differing = {
      "qemu.build": { qemu: { version: "7.2.21", build: "7.2.21" } },
      machine: { machine: "pc-q35-7.2" },
      cpuModel: { cpuModel: "max" },
      devices: { devices: [] },
    };
    for (const [i, [field, manifest]] of Object.entries(differing).entries()) {
      await addFakeSubstrate(fake.host.paths, { name: `other-${i}`, manifest });
      const activating = fake.pool.activate(2, { substrate: `other-${i}` });
      await expect(activating).rejects.toMatchObject({ code: "SUBSTRATE_INCOMPATIBLE", details: { field } });
    }
    expect(fake.qemu.vms).toEqual([]);
  });

  it("a substrate that does not match its QEMU leaves no file open", async () => {
    await using fake = await openFakePool();
    await addFakeSubstrate(fake.host.paths, { name: "other", manifest: { machine: "pc-q35-7.2" } });
    const activating = fake.pool.activate(2, { substrate: "other" });
    await expect(activating).rejects.toMatchObject({ code: "SUBSTRATE_INCOMPATIBLE" });
    await expectUndone(fake);
  });
});

describe("a VM that hangs is given up on", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each<[FakeStep, ActivateSpec, number, string]>([
    ["greeting", SPEC, 15_000, "QMP_CONNECT"],
    ["load", SPEC, 5000, "TIMEOUT"],
    ["cont", SPEC, 10_000, "TIMEOUT"],
    ["personalise", SPEC, 15_000, "TIMEOUT"],
    ["agent", { ...SPEC, channel: "agent" }, 15_000, "GUEST_AGENT_TIMEOUT"],
    ["rx-filter", SPEC, 10_000, "TIMEOUT"],
    ["plug", JOINED, 10_000, "TIMEOUT"],
  ])("at %s of %j, after %d ms with %s", async (step, spec, timeoutMs, code) => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm === 0 ? { at: { [step]: "hold" } } : {});
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const activating = fake.pool.activate(1, spec);
    activating.catch(() => {});
    await fake.qemu.reached(step);
    vi.advanceTimersByTime(timeoutMs);
    vi.useRealTimers();
    await expect(activating).rejects.toMatchObject({ code });
    await expectUndone(fake);
  });
});

const HOLDS: readonly FakeStep[] = [
  "start",
  "greeting",
  "incoming",
  "load",
  "cont",
  "personalise",
  "rx-filter",
  "join",
  "plug",
];

describe("an abort leaves nothing", () => {
  it.each(HOLDS)("at %s", async (step) => {
    await using fake = await openFakePool({ parallelStarts: 2 });
    fake.qemu.script = (vm) => (vm === 1 ? { at: { [step]: "hold" } } : {});
    const controller = new AbortController();
    const activating = fake.pool.activate(3, JOINED, { signal: controller.signal });
    await fake.qemu.reached(step, 1);
    controller.abort(new Error("changed my mind"));
    await expect(activating).rejects.toMatchObject({ code: "ABORTED" });
    await expectUndone(fake);
  });

  it("nor does the call's own deadline", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { load: "hold" } });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const activating = fake.pool.activate(1, { ...SPEC, timeoutMs: 4000 });
    activating.catch(() => {});
    await fake.qemu.reached("load");
    vi.advanceTimersByTime(4000);
    vi.useRealTimers();
    await expect(activating).rejects.toMatchObject({ code: "TIMEOUT" });
    await expectUndone(fake);
  });

  it("while the substrate is loaded", async () => {
    await using fake = await openFakePool();
    const controller = new AbortController();
    const activating = fake.pool.activate(1, SPEC, { signal: controller.signal });
    controller.abort();
    await expect(activating).rejects.toMatchObject({ code: "ABORTED" });
    expect(fake.qemu.vms).toEqual([]);
    await fake.pool.close();
    expect(await leftovers(fake.host.paths)).toMatchObject({ vms: [], runtime: [], sharedMemory: [] });
  });

  it("also when a VM that is ready already is released at the same time", async () => {
    await using fake = await openFakePool({ parallelStarts: 2 });
    fake.qemu.script = (vm) => (vm === 1 ? { at: { cont: "hold" } } : {});
    const controller = new AbortController();
    const activating = fake.pool.activate(2, SPEC, { signal: controller.signal });
    await Promise.all([fake.qemu.reached("cont", 1), fake.qemu.reached("rx-filter", 0)]);
    const released = fake.pool.vms.map((vm) => vm.release());
    controller.abort();
    await expect(activating).rejects.toMatchObject({ code: "ABORTED" });
    await Promise.all(released);
    await expectUndone(fake);
  });
});

describe("close", () => {
  it("waits until calls under way are undone, however long that takes", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { load: "hold" } });
    const activating = fake.pool.activate(1, SPEC);
    activating.catch(() => {});
    await fake.qemu.reached("load", 0);
    const [id = ""] = readdirSync(fake.host.paths.vms);
    for (let i = 0; i < 1000; i++) mkdirSync(join(fake.host.paths.vms, id, `${i}`));
    await fake.pool.close();
    expect(readdirSync(fake.host.paths.vms)).toEqual([]);
  });

  it("ends VMs, and calls under way with POOL_CLOSED", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    fake.qemu.script = () => ({ at: { load: "hold" } });
    const activating = fake.pool.activate(2, SPEC);
    activating.catch(() => {});
    await fake.qemu.reached("load", 1);
    await Promise.all([fake.pool.close(), fake.pool.close()]);
    await expect(activating).rejects.toMatchObject({ code: "POOL_CLOSED" });
    expect(vm?.state).toBe("released");
  });

  it("gives the state directory free for the next pool", async () => {
    await using fake = await openFakePool();
    await fake.pool.close();
    await using next = await fake.host.open();
    expect((await next.substrates()).map(({ name }) => name)).toEqual(["fake"]);
  });
});
