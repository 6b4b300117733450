import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FAILPOINTS, type Failpoint, type Vm } from "../../lib/clone/index.ts";
import { Pool } from "../../lib/pool/index.ts";
import { eventually } from "../support/eventually.ts";
import { FakeHost, type FakePool, openFakePool } from "../support/fake-host.ts";
import type { FakeScript } from "../support/fake-qemu-script.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";
import { activateOne, fakeOf, said } from "../support/vms.ts";

const FLATTENING: readonly Failpoint[] = FAILPOINTS.filter((name) => name.startsWith("flatten."));

const instantsOf = async ({ paths }: Pick<FakeHost, "paths">) => readdir(paths.forks).catch(() => []);

/** Forks a VM, and releases the forks. */
async function forkTimes(vm: Vm, times: number): Promise<void> {
  for (let i = 0; i < times; i++) for (const fork of await vm.fork(1)) await fork.release();
}

async function onlyFork(vm: Vm): Promise<Vm> {
  const [fork] = await vm.fork(1);
  if (fork === undefined) throw new Error("no fork");
  return fork;
}

/** A pool and a VM of it that does wrong what the script says. */
async function openWithSource(script: FakeScript = {}): Promise<FakePool & { readonly source: Vm }> {
  await using undo = new AsyncDisposableStack();
  const fake = undo.use(await openFakePool());
  const source = await activateOne(fake.pool);
  await fakeOf(fake, source).follow(script);
  const owned = undo.move();
  return { ...fake, source, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Its one overlay is on its substrate's disk, and it answers. */
async function expectFlat(host: FakeHost, vm: Vm): Promise<void> {
  await eventually(async () => expect(await instantsOf(host)).toEqual([]));
  const { dir } = host.paths.vm(vm.id);
  const overlays = (await readdir(dir)).filter((name) => name.endsWith(".qcow2"));
  expect(overlays).toHaveLength(1);
  const header = await readFile(join(dir, overlays[0] ?? ""));
  const offset = Number(header.readBigUInt64BE(8));
  const backingFile = header.subarray(offset, offset + header.readUInt32BE(16)).toString();
  expect(backingFile).toBe(host.paths.substrate("fake", 1).disk);
  await expectAlive(vm);
}

/** What is under its disk is no more than may stay, and its folder has nothing else. */
async function expectShort(host: FakeHost, vm: Vm): Promise<void> {
  await eventually(async () => {
    const { length } = await instantsOf(host);
    expect(length).toBeLessThanOrEqual(2);
    const names = await readdir(host.paths.vm(vm.id).dir);
    expect(names.filter((name) => name.endsWith(".qcow2"))).toHaveLength(1 + length);
  });
  await expectAlive(vm);
}

async function expectAlive(vm: Vm): Promise<void> {
  expect(vm.state).toBe("running");
  expect(await said(vm, "hostname")).toBe(vm.hostname);
}

describe("a VM that was forked", () => {
  it("once or twice keeps what is under its disk", async () => {
    await using fake = await openWithSource();
    await forkTimes(fake.source, 2);
    expect(await instantsOf(fake.host)).toHaveLength(2);
    expect(fakeOf(fake, fake.source).steps).not.toContain("flatten");
  });

  it("more often gets a flat disk, and can be forked for ever", async () => {
    await using fake = await openWithSource();
    await forkTimes(fake.source, 3);
    await expectFlat(fake.host, fake.source);
    await forkTimes(fake.source, 20);
    await expectAlive(fake.source);
    const fork = await onlyFork(fake.source);
    await fake.source.release();
    await expectAlive(await onlyFork(fork));
    expect((await fake.pool.gc()).folders).toEqual([]);
  }, 30_000);

  it("has forks that get flat disks of their own, and outlive it", async () => {
    await using fake = await openWithSource();
    const child = await onlyFork(fake.source);
    const grandchild = await onlyFork(child);
    const last = await onlyFork(grandchild);
    await fakeOf(fake, last).follow({});
    await eventually(() => expect(fakeOf(fake, last).steps).toContain("flattened"));
    await Promise.all([fake.source, child, grandchild].map((vm) => vm.release()));
    await expectFlat(fake.host, last);
    await expectAlive(await onlyFork(last));
    await Promise.all(fake.pool.vms.map((vm) => vm.release()));
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it("faster than its disk can be made flat is refused in the end, and untouched", async () => {
    await using fake = await openWithSource({ at: { flatten: "fail" } });
    await forkTimes(fake.source, 16);
    await expect(fake.source.fork(1)).rejects.toMatchObject({ code: "FORK_REFUSED", details: { depth: 16 } });
    await expectAlive(fake.source);
    await fakeOf(fake, fake.source).follow({});
    await eventually(() => forkTimes(fake.source, 1));
    await expectShort(fake.host, fake.source);
  }, 30_000);
});

describe("while a disk is made flat", () => {
  it("its VM can be forked, which ends that for the moment", async () => {
    await using fake = await openWithSource({ at: { flattened: "hold" } });
    await forkTimes(fake.source, 3);
    await fake.qemu.reached("flattened");
    const fork = await onlyFork(fake.source);
    await expectAlive(fork);
    expect(await instantsOf(fake.host)).toHaveLength(4);
    await fakeOf(fake, fake.source).follow({});
    await forkTimes(fake.source, 1);
    await fork.release();
    await expectShort(fake.host, fake.source); // of the last fork one may be left, if it came when the disk was flat
  });

  it("a fork waits for it where the chain is long", async () => {
    await using fake = await openWithSource({ at: { flatten: "fail" } });
    const vm = fakeOf(fake, fake.source);
    await forkTimes(fake.source, 7);
    await vm.follow({ at: { flattened: "hold" } });
    await forkTimes(fake.source, 1);
    await eventually(() => expect(vm.steps.at(-1)).toBe("flattened"));
    let isDone = false;
    const forking = forkTimes(fake.source, 1).then(() => {
      isDone = true;
    });
    await forkTimes(await activateOne(fake.pool), 1); // as long as a fork takes
    expect(isDone).toBe(false);
    vm.pass("flattened");
    await forking;
    expect(await instantsOf(fake.host)).toHaveLength(2); // one of each source
  }, 30_000);

  it("its VM may be parked, and is flat all the same", async () => {
    await using fake = await openWithSource({ at: { flattened: "hold" } });
    await forkTimes(fake.source, 3);
    const vm = await fake.qemu.reached("flattened");
    await fake.source.park();
    vm.pass("flattened");
    await eventually(async () => expect(await instantsOf(fake.host)).toEqual([]));
    await fake.source.resume();
    await expectFlat(fake.host, fake.source);
  });

  it("its VM may be released, and nothing is left", async () => {
    await using fake = await openWithSource({ at: { flattened: "hold" } });
    await forkTimes(fake.source, 3);
    await fake.qemu.reached("flattened");
    await fake.source.release();
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it("its pool may be closed: the next one goes on with it", async () => {
    await using fake = await openWithSource({ at: { flattened: "hold" } });
    await forkTimes(fake.source, 3);
    await fake.qemu.reached("flattened");
    await fake.pool.close({ vms: "keep" });
    await fakeOf(fake, fake.source).follow({});
    await using pool = await fake.host.open();
    await expectFlat(fake.host, pool.vms[0] as Vm);
  });

  it.each(["flatten", "flattened"] as const)("its QEMU may die at %s, and nothing is left", async (step) => {
    await using fake = await openWithSource({ at: { [step]: "die" } });
    const forking = forkTimes(fake.source, 3).catch(() => {});
    await eventually(() => expect(fake.source.state).toBe("failed"));
    await forking;
    await eventually(() => expectNothingLeft(fake.host.paths, { open: true }));
  });

  it.each(["flatten", "flattened"] as const)(
    "QEMU may fail at %s: its VM goes on, and it is tried again",
    async (step) => {
      await using fake = await openWithSource({ at: { [step]: "fail" } });
      await forkTimes(fake.source, 3);
      const vm = await fake.qemu.reached(step);
      await eventually(() => expect(vm.steps.filter((one) => one === step).length).toBeGreaterThan(1));
      expect(await instantsOf(fake.host)).toHaveLength(3);
      await expectAlive(fake.source);
      await vm.follow({});
      await expectFlat(fake.host, fake.source);
    },
  );
});

it("no disk is made flat while a claim is under way", async () => {
  await using fake = await openWithSource();
  await forkTimes(fake.source, 2);
  const claimed = fake.qemu.vms.length;
  fake.qemu.script = (vm) => (vm === claimed ? { at: { personalise: "hold" } } : {});
  const claiming = activateOne(fake.pool);
  const held = await fake.qemu.reached("personalise", claimed);
  await forkTimes(fake.source, 2);
  expect(fakeOf(fake, fake.source).steps).not.toContain("flatten");
  held.pass("personalise");
  await claiming;
  await expectFlat(fake.host, fake.source);
});

describe("at each moment of it", () => {
  it.each(FLATTENING)(
    "%s, an owner that is killed leaves the rest to the next one",
    async (failpoint) => {
      await using host = await FakeHost.create();
      await addFakeSubstrate(host.paths);
      const task = { options: host.options(), does: { forks: 3 }, killAt: { failpoint, time: 1 } } as const;
      await using owner = PoolOwner.begin(task);
      await owner.ended();
      expect(owner.process.signalCode).toBe("SIGKILL");
      {
        await using pool = await host.open();
        expect(pool.vms.map(({ id }) => `handed ${id}`)).toEqual(owner.said.slice(0, 1));
        const [source] = pool.vms;
        if (source === undefined) throw new Error("the source is gone");
        await expectFlat(host, source);
        await forkTimes(source, 4);
        await expectShort(host, source);
        expect((await pool.gc()).folders).toEqual([]);
      }
      await expectNothingLeft(host.paths);
    },
    30_000,
  );

  it.each(FLATTENING)(
    "%s, an error only means that it is tried again",
    async (failpoint) => {
      await using host = await FakeHost.create();
      await addFakeSubstrate(host.paths);
      let times = 0;
      const once = (name: Failpoint) => {
        if (name === failpoint && ++times === 1) throw new Error(`failpoint ${name}`);
      };
      await using pool = await Pool.open(host.options(), { failpoint: once });
      const source = await activateOne(pool);
      await forkTimes(source, 3);
      await eventually(() => expect(times).toBeGreaterThan(0));
      await expectAlive(source);
      if (failpoint !== "flatten.recorded") await expectFlat(host, source);
      await forkTimes(source, 1); // which also removes what was not swept
      await expectShort(host, source);
      await source.release();
      await expectNothingLeft(host.paths, { open: true });
    },
    30_000,
  );
});
