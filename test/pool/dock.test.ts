import { readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import type { Manifest } from "../../lib/substrate/index.ts";
import { openFakePool } from "../support/fake-host.ts";
import { addFakeSubstrate, FAKE_GUEST } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, helperRequests } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
const MCAST: ActivateSpec = { ...SPEC, network: { fabric: "mcast", subnet: "10.5.0.0/24" } };

describe.each([true, false])("a dock with primed: %s", (primed) => {
  it("is filled, claimed from, and filled again", async () => {
    await using fake = await openFakePool();
    expect(await fake.pool.dock("fake", { min: 3, primed })).toMatchObject({
      substrate: "fake",
      min: 3,
      max: 3,
      ready: 0,
    });
    expect(await fake.pool.docked("fake", { count: 3 })).toMatchObject({ ready: 3, starting: 0, failures: 0 });
    const started = fake.qemu.vms.length;
    expect(started).toBe(3);
    expect(fake.qemu.vms.every(({ steps }) => steps.includes("cont") === primed)).toBe(true);

    const vms = await fake.pool.activate(2, MCAST);
    expect(vms.map(({ origin }) => origin)).toEqual(["docked", "docked"]);
    expect(vms.map(({ hostname }) => hostname)).toEqual(["fake-0", "fake-1"]);
    expect(vms[0]?.timings.phasesMs).toMatchObject({ overlay: 0, spawn: 0, load: 0 });
    expect((await vms[0]?.exec(["hostname"]))?.stdout).toBe("fake-0\n");
    expect(await fake.pool.docked("fake", { count: 3 })).toMatchObject({ ready: 3 });
    expect(fake.qemu.vms.length).toBe(5);
  });
});

describe("claims", () => {
  it("beyond what is ready are cloned", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    const vms = await fake.pool.activate(3, SPEC);
    expect(vms.map(({ origin }) => origin).toSorted()).toEqual(["cloned", "cloned", "docked"]);
    expect(new Set(vms.map(({ mac }) => mac)).size).toBe(3);
  });

  it("that compete never get one clone", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 2 });
    await fake.pool.docked("fake", { count: 2 });
    const made = await Promise.all([
      fake.pool.activate(1, SPEC),
      fake.pool.activate(1, SPEC),
      fake.pool.activate(1, SPEC),
    ]);
    expect(new Set(made.flat().map(({ pid }) => pid)).size).toBe(3);
  });

  it("through the agent alone are not served from the dock, whose clones have met the helper", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    const [vm] = await fake.pool.activate(1, { ...SPEC, channel: "agent" });
    expect(vm?.origin).toBe("cloned");
  });

  it("that fail end the clones that they took, and return none", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 2, primed: false });
    fake.qemu.script = (vm) => (vm === 0 ? { at: { personalise: "fail" } } : {});
    await fake.pool.docked("fake", { count: 2 });
    const taken = fake.qemu.vms.slice(0, 2).map(({ pid }) => pid);
    await expect(fake.pool.activate(2, SPEC)).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED" });
    for (const pid of taken) expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect(fake.pool.vms).toEqual([]);
    await fake.pool.docked("fake", { count: 2 });
    expect((await fake.pool.activate(2, SPEC)).map(({ hostname }) => hostname)).toEqual(["fake-0", "fake-1"]);
  });

  it("that are refused touch nothing in the dock", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    const outside = { ...SPEC, network: { subnet: "10.5.0.0/24", addresses: ["10.6.0.1"] } };
    await expect(fake.pool.activate(1, outside)).rejects.toMatchObject({ code: "ADDRESS_OUTSIDE_SUBNET" });
    expect(fake.pool.docks).toMatchObject([{ ready: 1 }]);
    expect(fake.qemu.vms.length).toBe(1);
  });
});

describe("refilling", () => {
  it("waits while a claim is under way", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1, primed: false });
    fake.qemu.script = (vm) => (vm === 0 ? { at: { personalise: "hold" } } : {});
    await fake.pool.docked("fake", { count: 1 });
    const claiming = fake.pool.activate(1, SPEC);
    const claimed = await fake.qemu.reached("personalise", 0);
    expect(fake.qemu.vms.length).toBe(1);
    claimed.pass("personalise");
    await claiming;
    await fake.pool.docked("fake", { count: 1 });
    expect(fake.qemu.vms.length).toBe(2);
  });

  it("goes on after a start that failed, and forgets the failure when one succeeds", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm === 0 ? { at: { load: "die" } } : {});
    await fake.pool.dock("fake", { min: 1 });
    expect(await fake.pool.docked("fake", { count: 1 })).toMatchObject({ ready: 1, failures: 0, lastError: undefined });
    expect(fake.qemu.vms.length).toBe(2);
  });

  it("that always fails is told to whoever waits", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { load: "die" } });
    await fake.pool.dock("fake", { min: 1 });
    const waiting = fake.pool.docked("fake", { count: 1, timeoutMs: 600 });
    await expect(waiting).rejects.toMatchObject({ code: "TIMEOUT", message: expect.stringContaining("QEMU ended") });
    expect(fake.pool.docks[0]?.failures).toBeGreaterThan(0);
  });

  it("replaces a docked clone whose QEMU ends", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    const [dead] = fake.qemu.vms;
    process.kill(dead?.pid ?? 0, "SIGKILL");
    await fake.qemu.reached("start", 1);
    await fake.pool.docked("fake", { count: 1 });
    const [vm] = await fake.pool.activate(1, SPEC);
    expect(vm?.pid).not.toBe(dead?.pid);
    expect(vm?.origin).toBe("docked");
  });
});

describe("a dock's target", () => {
  it("can be lowered, which ends what is too much", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 3 });
    await fake.pool.docked("fake", { count: 3 });
    expect(await fake.pool.dock("fake", { min: 1 })).toMatchObject({ ready: 1, target: 1 });
    await fake.pool.dock("fake", { min: 0 });
    expect(fake.pool.docks).toMatchObject([{ ready: 0, starting: 0 }]);
  });

  it.each([
    [{ min: -1 }],
    [{ min: 1.5 }],
    [{ min: 4, max: 3 }],
    [{ min: 10_000 }],
    [{ min: 1, depth: 2 }],
    [{ maxMiB: 0 }],
    [{ hostname: "one" }],
  ])("is refused when it is %j", async (options) => {
    await using fake = await openFakePool();
    await expect(fake.pool.dock("fake", options as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(fake.pool.docks).toEqual([]);
  });

  it("is for a substrate that there is", async () => {
    await using fake = await openFakePool();
    await expect(fake.pool.dock("none", { min: 1 })).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
    await expect(fake.pool.docked("none", { count: 1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await fake.pool.dock("fake", { min: 1 });
    await expect(fake.pool.docked("fake", { count: 2 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("undock", () => {
  it("ends the waiting clones, also those being made, and says whether there was a dock", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm === 1 ? { at: { load: "hold" } } : {});
    await fake.pool.dock("fake", { min: 2, primed: false });
    await fake.qemu.reached("load", 1);
    await fake.pool.docked("fake", { count: 1 });
    expect(await fake.pool.undock("fake@latest")).toBe(true);
    expect(fake.pool.docks).toEqual([]);
    await expectNothingLeft(fake.host.paths, { open: true });
    expect(await fake.pool.undock("fake")).toBe(false);
    const [vm] = await fake.pool.activate(1, SPEC);
    expect(vm?.origin).toBe("cloned");
  });

  it("takes away the dock of one version, and leaves that of the newest", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.dock("fake@1", { min: 1 });
    expect(await fake.pool.undock("fake@1")).toBe(true);
    expect(fake.pool.docks).toMatchObject([{ substrate: "fake", pinned: false }]);
  });

  it("frees the substrate, which can be removed then", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    await expect(fake.pool.removeSubstrate("fake")).rejects.toMatchObject({ code: "SUBSTRATE_IN_USE" });
    await fake.pool.undock("fake");
    expect(await fake.pool.removeSubstrate("fake")).toEqual([{ name: "fake", version: 1 }]);
  });

  it("leaves VMs that were claimed alone", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    const [vm] = await fake.pool.activate(1, SPEC);
    await fake.pool.undock("fake");
    expect((await vm?.exec(["hostname"]))?.stdout).toBe("fake-0\n");
  });

  it.each(["", "Fake", "fake@0", "../fake"])("refuses the name %j", async (name) => {
    await using fake = await openFakePool();
    await expect(fake.pool.undock(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("waiting for a dock", () => {
  it("ends when it is taken away", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { load: "hold" } });
    await fake.pool.dock("fake", { min: 1 });
    const waiting = fake.pool.docked("fake", { count: 1 });
    waiting.catch(() => {});
    await fake.qemu.reached("load");
    await fake.pool.undock("fake");
    await expect(waiting).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("no dock"),
    });
  });

  it("ends when its target is lowered below what is waited for", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { load: "hold" } });
    await fake.pool.dock("fake", { min: 2 });
    const waiting = fake.pool.docked("fake", { count: 2 });
    waiting.catch(() => {});
    await fake.qemu.reached("load");
    await fake.pool.dock("fake", { min: 1 });
    await expect(waiting).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("closing", () => {
  it("ends docked clones, also those being made, and leaves nothing", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm === 2 ? { at: { load: "hold" } } : {});
    await addFakeSubstrate(fake.host.paths, { name: "other" });
    await fake.pool.dock("fake", { min: 3 });
    await fake.pool.dock("other", { min: 1 });
    await fake.qemu.reached("load", 2);
    const waiting = fake.pool.docked("fake", { count: 3 });
    waiting.catch(() => {});
    await fake.pool.close();
    await expect(waiting).rejects.toMatchObject({ code: "POOL_CLOSED" });
    await expectNothingLeft(fake.host.directories);
    expect(await readdir(fake.host.paths.vms)).toEqual([]);
  });
});

it("asks the web servers of a primed clone what its substrate's probes ask, and minds no refusal", async () => {
  await using fake = await openFakePool();
  const web = [
    { probe: "http", port: 80, path: "/", status: 200 },
    { probe: "any", of: [{ probe: "http", port: 8080, path: "/health", status: 204 }, { probe: "agent" }] },
  ] as const;
  const ready = [...FAKE_GUEST.ready, ...web];
  await addFakeSubstrate(fake.host.paths, {
    name: "web",
    manifest: { guest: structuredClone({ ...FAKE_GUEST, ready }) as Manifest["guest"] },
  });
  await fake.pool.dock("web", { min: 1 });
  await fake.pool.docked("web", { count: 1 });
  const vm = await activateOne(fake.pool, { substrate: "web" });
  expect(vm.origin).toBe("docked");
  const asked = (await helperRequests(vm)).join(" ").matchAll(/http=(\S+)/g);
  expect([...asked].map(([, page]) => page)).toEqual(["80,/", "8080,/health"]);
});
