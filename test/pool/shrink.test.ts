import { describe, expect, it } from "vitest";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { eventually } from "../support/eventually.ts";
import { FakeHost, type FakePool, openFakePool } from "../support/fake-host.ts";
import type { FakeScript } from "../support/fake-qemu-script.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";
import { activateOne, fakeOf, helperRequests } from "../support/vms.ts";

/** Beside the 1 MiB of "fake" a module of 128 MiB that stays, and two that can be taken away. */
const GROWN: ActivateSpec = { substrate: "fake", resources: { cpus: 2, memoryMiB: 385 } };

async function withGrown(script: FakeScript = {}) {
  await using undo = new AsyncDisposableStack();
  const fake: FakePool = undo.use(await openFakePool());
  fake.qemu.script = () => script;
  const vm = await activateOne(fake.pool, GROWN);
  const owned = undo.move();
  return { ...fake, vm, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const removals = (fake: FakePool & { readonly vm: { readonly pid: number } }) =>
  fakeOf(fake, fake.vm).steps.filter((step) => step.startsWith("remove-m"));

describe("a VM that was given memory", () => {
  it("gives it back by whole modules, each switched off before", async () => {
    await using fake = await withGrown();
    expect(await fake.vm.shrink({ memoryMiB: 200 })).toEqual({ cpus: 2, memoryMiB: 257, diskMiB: 8 });
    expect(removals(fake)).toEqual(["remove-module", "remove-memory"]);
    expect(await fake.vm.shrink({ memoryMiB: 1 })).toMatchObject({ memoryMiB: 129 });
    expect(fake.vm.resources.memoryMiB).toBe(129);
    const requests = (await helperRequests(fake.vm)).filter((line) => line.includes(" offline="));
    expect(requests.map((line) => line.split(" ").slice(1))).toEqual([
      [`offline=${4 * 2 ** 30 + 128 * 2 ** 20},${128 * 2 ** 20}`],
      [`offline=${4 * 2 ** 30 + 256 * 2 ** 20},${128 * 2 ** 20}`],
    ]);
  });

  it("keeps what it needs to have as much as it was asked to, however often", async () => {
    await using fake = await withGrown();
    for (const memoryMiB of [385, 300, 100_000]) {
      expect(await fake.vm.shrink({ memoryMiB })).toEqual(fake.vm.resources);
    }
    expect(fake.vm.resources.memoryMiB).toBe(385);
    await fake.vm.shrink({ memoryMiB: 129 });
    await fake.vm.shrink({ memoryMiB: 129 });
    expect(removals(fake)).toHaveLength(4);
  });

  it("makes room in the budget", async () => {
    await using fake = await openFakePool({ memoryMiB: 600 });
    const vm = await activateOne(fake.pool, GROWN);
    await expect(activateOne(fake.pool, GROWN)).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
    await vm.shrink({ memoryMiB: 1 });
    await activateOne(fake.pool, { ...GROWN, resources: { memoryMiB: 257 } });
  });

  it("has less for the next owner as well, who can take more", async () => {
    await using fake = await withGrown();
    await fake.vm.shrink({ memoryMiB: 257 });
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    const [vm] = next.vms;
    expect(vm?.resources.memoryMiB).toBe(257);
    expect(await vm?.shrink({ memoryMiB: 1 })).toMatchObject({ memoryMiB: 129 });
  });

  it("is taken over as it is, also when its owner was killed before it had written that down", async () => {
    await using host = await FakeHost.create();
    await addFakeSubstrate(host.paths);
    const killAt = { failpoint: "shrink.unplugged", time: 1 };
    await using owner = PoolOwner.begin({ options: host.options(), does: "life", killAt });
    await owner.ended();
    expect(owner.process.signalCode).toBe("SIGKILL");
    await using pool = await host.open();
    const vm = pool.vms.find(({ hostname }) => hostname === "by-name");
    expect(vm?.resources).toEqual({ cpus: 2, memoryMiB: 129, diskMiB: 64 });
    await pool.close({ vms: "keep" });
    await using next = await host.open();
    expect(next.vms.find(({ hostname }) => hostname === "by-name")?.resources.memoryMiB).toBe(129);
  });

  it("that it was not, has nothing to give", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    expect(await vm.shrink({ memoryMiB: 1 })).toEqual({ cpus: 1, memoryMiB: 1, diskMiB: 8 });
  });
});

describe("memory that is not given back", () => {
  it.each<[string, FakeScript, RegExp]>([
    ["because its guest needs it", { refuses: ["offline"] }, /keeps 128 MiB .*could not do "offline"/],
    ["because its guest does not let it go", { keepsModules: true }, /keeps 128 MiB .*did not let it go/],
    ["because its guest says something else", { lies: { offline: "1" } }, /keeps 128 MiB .*a part of it/],
  ])("%s is an error, and its VM goes on", { timeout: 60_000 }, async (_, script, message) => {
    await using fake = await withGrown(script);
    const shrinking = fake.vm.shrink({ memoryMiB: 1 });
    await expect(shrinking).rejects.toMatchObject({ code: "MEMORY_IN_USE", message: expect.stringMatching(message) });
    expect(fake.vm.resources.memoryMiB).toBe(385);
    expect((await fake.vm.exec(["hostname"])).stdout).toBe("fake-0\n");
    await fakeOf(fake, fake.vm).follow({});
    expect(await fake.vm.shrink({ memoryMiB: 1 })).toMatchObject({ memoryMiB: 129 });
  });

  it.each(["remove-module", "remove-memory"] as const)(
    "because QEMU fails at %s is given by the next call",
    async (step) => {
      await using fake = await withGrown({ at: { [step]: "fail" } });
      if (step === "remove-memory") {
        await expect(fake.vm.shrink({ memoryMiB: 1 })).rejects.toMatchObject({ code: "QMP_COMMAND_FAILED" });
      } else {
        await expect(fake.vm.shrink({ memoryMiB: 1 })).rejects.toMatchObject({ code: "MEMORY_IN_USE" });
      }
      await fakeOf(fake, fake.vm).follow({});
      expect(await fake.vm.shrink({ memoryMiB: 1 })).toMatchObject({ memoryMiB: 129 });
    },
    60_000,
  );

  it("because QEMU ends is the end of its VM, and nothing is left", async () => {
    await using fake = await withGrown({ at: { "remove-module": "die" } });
    await expect(fake.vm.shrink({ memoryMiB: 1 })).rejects.toMatchObject({ code: "VM_GONE" });
    await eventually(() => expectNothingLeft(fake.host.paths, { open: true }));
  });

  it("because it was aborted is given by the next call", async () => {
    await using fake = await withGrown({ at: { "remove-module": "hold" } });
    const giveUp = new AbortController();
    const shrinking = fake.vm.shrink({ memoryMiB: 1, signal: giveUp.signal });
    await fake.qemu.reached("remove-module");
    giveUp.abort();
    await expect(shrinking).rejects.toMatchObject({ code: "ABORTED" });
    await fakeOf(fake, fake.vm).follow({});
    fakeOf(fake, fake.vm).pass("remove-module");
    expect(await fake.vm.shrink({ memoryMiB: 1 })).toMatchObject({ memoryMiB: 129 });
  });

  it("because its VM is parked, or the request is none, is refused before anything is touched", async () => {
    await using fake = await withGrown();
    for (const memoryMiB of [0, 1.5, Number.NaN]) {
      await expect(fake.vm.shrink({ memoryMiB })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    await fake.vm.park();
    await expect(fake.vm.shrink({ memoryMiB: 1 })).rejects.toMatchObject({ code: "VM_PARKED" });
    await fake.vm.release();
    await expect(fake.vm.shrink({ memoryMiB: 1 })).rejects.toMatchObject({ code: "VM_GONE" });
    expect(removals(fake)).toEqual([]);
  });
});
