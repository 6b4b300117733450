import { readdir, stat } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Vm } from "../../lib/clone/index.ts";
import type { FakePool } from "../support/fake-host.ts";
import { openFakePool } from "../support/fake-host.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, fakeOf, said } from "../support/vms.ts";

const instantsOf = async ({ host }: FakePool) => readdir(host.paths.forks).catch(() => []);

async function expectAlive(vm: Vm): Promise<void> {
  expect(vm.state).toBe("running");
  expect(await said(vm, "hostname")).toBe(vm.hostname);
}

async function onlyFork(vm: Vm): Promise<Vm> {
  const [fork] = await vm.fork(1);
  if (fork === undefined) throw new Error("no fork");
  return fork;
}

describe("fork", () => {
  it("gives VMs that differ in all that must, on the source's network, and leaves the source as it was", async () => {
    await using fake = await openFakePool();
    const reports: unknown[] = [];
    fake.pool.events.on("forked", (vm, report) => reports.push([vm.hostname, report.count]));
    const source = await activateOne(fake.pool, {
      substrate: "fake",
      network: { fabric: "mcast", subnet: "10.9.0.0/24" },
      env: { MODE: "test" },
    });
    const forks = await source.fork(2, { labels: { of: "source" } });
    const all = [source, ...forks];
    for (const vm of all) await expectAlive(vm);
    for (const part of ["id", "hostname", "address", "mac", "machineId", "sshHostKey", "pid"] as const) {
      expect(new Set(all.map((vm) => vm[part])).size).toBe(3);
    }
    expect(forks.map(({ address, origin, labels }) => [address, origin, labels])).toEqual([
      ["10.9.0.2", "forked", { of: "source" }],
      ["10.9.0.3", "forked", { of: "source" }],
    ]);
    expect(await said(forks[0] as Vm, "env")).toContain("MODE=test");
    expect(reports).toEqual([["fake-0", 2]]);
    expect(fake.pool.vms).toHaveLength(3);
  });

  it("keeps a disk for as long as somebody reads from it, whoever goes first, and nothing else", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { flatten: "fail" } }); // or three of them would not last
    const source = await activateOne(fake.pool);
    const first = await onlyFork(source);
    const second = await onlyFork(first);
    expect(await instantsOf(fake)).toHaveLength(2);
    const [instant = ""] = await instantsOf(fake);
    await expect(stat(fake.host.paths.instant(instant).state)).rejects.toThrow("ENOENT");
    await source.release();
    await first.release();
    expect(await instantsOf(fake)).toHaveLength(2);
    await expectAlive(second);
    const third = await onlyFork(second);
    await second.release();
    expect(await instantsOf(fake)).toHaveLength(3);
    await third.release();
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it("refuses what cannot be forked, and touches nothing", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await expect(vm.fork(0)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(vm.fork(1, { typo: 1 } as object)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await vm.park();
    await expect(vm.fork(1)).rejects.toMatchObject({ code: "VM_PARKED" });
    await vm.resume();
    const [booted] = await fake.pool.coldBoot(1, { substrate: "fake" });
    await expect(booted?.fork(1)).rejects.toMatchObject({ code: "FORK_REFUSED" });
    await booted?.release();
    await vm.release();
    await expect(vm.fork(1)).rejects.toMatchObject({ code: "VM_GONE" });
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it("outlives its pool: forks are taken over, and their disks stay", async () => {
    await using fake = await openFakePool();
    const source = await activateOne(fake.pool);
    const fork = await onlyFork(source);
    await fake.pool.close({ vms: "keep" });
    await using pool = await fake.host.open();
    expect(pool.vms.map(({ id }) => id).toSorted()).toEqual([source.id, fork.id].toSorted());
    for (const vm of pool.vms) await expectAlive(vm);
    expect(await instantsOf(fake)).toHaveLength(1);
    await Promise.all(pool.vms.map((vm) => vm.release()));
    expect(await instantsOf(fake)).toEqual([]);
  });
});

describe("a fork that fails", () => {
  it.each(["stop", "migrate", "split", "switchover"] as const)(
    "at the source's %s leaves the source running",
    async (step) => {
      await using fake = await openFakePool();
      const source = await activateOne(fake.pool);
      await fakeOf(fake, source).follow({ at: { [step]: "fail" } });
      await expect(source.fork(1)).rejects.toMatchObject({ code: "QMP_COMMAND_FAILED" });
      await fakeOf(fake, source).follow({});
      await expectAlive(source);
      expect(fake.pool.vms).toEqual([source]);
      const fork = await onlyFork(source);
      await Promise.all([source.release(), fork.release()]);
      await expectNothingLeft(fake.host.paths, { open: true });
    },
  );

  it.each(["stop", "migrate", "split", "switchover"] as const)(
    "because its source dies at %s leaves nothing",
    async (step) => {
      await using fake = await openFakePool();
      const source = await activateOne(fake.pool);
      await fakeOf(fake, source).follow({ at: { [step]: "die" } });
      await expect(source.fork(1)).rejects.toMatchObject({ code: "VM_GONE" });
      await source.release();
      expect(await fake.pool.gc()).toMatchObject({ processes: [], records: [], leases: [] });
      await expectNothingLeft(fake.host.paths, { open: true });
    },
  );

  it.each(["start", "load", "personalise"] as const)(
    "because a fork dies at %s takes the others with it",
    async (step) => {
      await using fake = await openFakePool();
      fake.qemu.script = (vm) => (vm === 2 ? { at: { [step]: "die" } } : {});
      const source = await activateOne(fake.pool);
      await expect(source.fork(2)).rejects.toMatchObject({ code: "QEMU_EXITED" });
      await expectAlive(source);
      expect(fake.pool.vms).toEqual([source]);
      await source.release();
      await expectNothingLeft(fake.host.paths, { open: true });
    },
  );

  it.each(["stop", "split", "switchover"] as const)(
    "because it is aborted at %s leaves the source running",
    async (step) => {
      await using fake = await openFakePool();
      const source = await activateOne(fake.pool);
      const vm = fakeOf(fake, source);
      await vm.follow({ at: { [step]: "hold" } });
      const aborting = new AbortController();
      const forking = source.fork(1, { signal: aborting.signal });
      await fake.qemu.reached(step);
      aborting.abort();
      await vm.follow({});
      vm.pass(step);
      await expect(forking).rejects.toMatchObject({ code: "ABORTED" });
      await expectAlive(source);
      await source.release();
      await expectNothingLeft(fake.host.paths, { open: true });
    },
  );
});

it("a VM that was claimed larger than its substrate is not forked", async () => {
  await using fake = await openFakePool();
  const [vm] = await fake.pool.activate(1, { substrate: "fake", resources: { cpus: 2 } });
  await expect(vm?.fork(1)).rejects.toMatchObject({ code: "FORK_REFUSED", details: { id: vm?.id } });
  expect(fake.pool.vms).toHaveLength(1);
});
