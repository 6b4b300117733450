import { describe, expect, it } from "vitest";
import { processStartTime } from "../../lib/host/index.ts";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { miniRecipe } from "../../lib/substrate/recipes/mini.ts";
import { eventually } from "../support/eventually.ts";
import { type FakePool, openFakePool } from "../support/fake-host.ts";
import { addFakeGuestFiles } from "../support/fake-substrate.ts";
import { NOTHING_COLLECTED } from "../support/nothing-left.ts";
import { activateOne, said } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };

async function living(pids: readonly number[]): Promise<number> {
  const times = await Promise.all(pids.map(processStartTime));
  return times.filter((time) => time !== undefined).length;
}

async function docked(count: number): Promise<FakePool> {
  const fake = await openFakePool();
  await fake.pool.dock("fake", { min: count });
  await fake.pool.docked("fake", { count });
  return fake;
}

describe("a new version of a substrate", () => {
  it("replaces the clones of the old one's dock; VMs of the old one go on", async () => {
    await using fake = await docked(2);
    const before = await activateOne(fake.pool);
    await fake.pool.docked("fake", { count: 2 });
    const old = fake.qemu.vms.map(({ pid }) => pid).filter((pid) => pid !== before.pid);
    await addFakeGuestFiles(fake.host.paths, miniRecipe);
    expect(await fake.pool.build({ recipe: "mini", name: "fake" })).toMatchObject({ version: 2, reused: false });
    expect(await living(old)).toBe(0);
    expect(await fake.pool.docked("fake", { count: 2 })).toMatchObject({ version: 2, ready: 2, min: 2 });
    const after = await activateOne(fake.pool);
    expect(after).toMatchObject({ origin: "docked", substrate: { name: "fake", version: 2 } });
    expect(await said(before, "hostname")).toBe(before.hostname);
    expect(fake.pool.docks).toHaveLength(1);
  });

  it("serves who waits for the dock of the old one", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm === 0 ? { at: { load: "hold" } } : {});
    await fake.pool.dock("fake", { min: 1 });
    await fake.qemu.reached("load", 0);
    const waiting = fake.pool.docked("fake", { count: 1 });
    await addFakeGuestFiles(fake.host.paths, miniRecipe);
    await fake.pool.build({ recipe: "mini", name: "fake" });
    expect(await waiting).toMatchObject({ version: 2, ready: 1 });
  });
});

describe("a dock", () => {
  it("whose clones are to be of another kind has them replaced", async () => {
    await using fake = await docked(2);
    const primed = fake.qemu.vms.map(({ pid }) => pid);
    await fake.pool.dock("fake", { min: 2, hostname: "node-{index}" });
    await fake.pool.docked("fake", { count: 2 });
    await eventually(async () => expect(await living(primed)).toBe(0));
    expect(await activateOne(fake.pool, { ...SPEC, hostname: "node-{index}" })).toMatchObject({
      hostname: expect.stringMatching(/^node-[01]$/), // two were made at the same time
      origin: "docked",
    });
  });

  it("that is made smaller ends what is too much, and their leases are free", async () => {
    await using fake = await docked(3);
    await fake.pool.dock("fake", { min: 1 });
    await eventually(async () => expect(await living(fake.qemu.vms.map(({ pid }) => pid))).toBe(1));
    const hostname = ["fake-0", "fake-1", "fake-2"];
    expect(await fake.pool.activate(3, { ...SPEC, hostname })).toHaveLength(3);
  });

  it("loses a clone whose QEMU is killed, and running VMs do not notice", async () => {
    await using fake = await docked(1);
    const vm = await activateOne(fake.pool);
    await fake.pool.docked("fake", { count: 1 });
    process.kill(fake.qemu.vms[1]?.pid ?? 0, "SIGKILL");
    await fake.qemu.reached("start", 2);
    expect(await fake.pool.docked("fake", { count: 1 })).toMatchObject({ ready: 1, failures: 0 });
    expect(await said(vm, "hostname")).toBe("fake-0");
    expect(await fake.pool.gc()).toEqual(NOTHING_COLLECTED);
  });

  it("has no clone for a claim that comes when its last one has just been killed, and the claim succeeds", async () => {
    await using fake = await docked(1);
    process.kill(fake.qemu.vms[0]?.pid ?? 0, "SIGKILL");
    const [outcome] = await fake.pool.activateSettled(1, SPEC);
    // Whether or not the news was faster: a VM, or a typed error; never a VM that is dead.
    if (outcome !== undefined && "vm" in outcome) expect(await said(outcome.vm, "hostname")).toBe("fake-0");
    else expect(outcome?.error.code).toMatch(/^(QEMU_EXITED|QMP_CLOSED)$/);
    expect(await activateOne(fake.pool)).toMatchObject({ state: "running" });
  });
});
