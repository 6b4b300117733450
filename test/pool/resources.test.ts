import { describe, expect, it } from "vitest";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import type { Manifest } from "../../lib/substrate/index.ts";
import { eventually } from "../support/eventually.ts";
import { type FakePool, openFakePool } from "../support/fake-host.ts";
import type { FakeScript, FakeStep } from "../support/fake-qemu-script.ts";
import { addFakeSubstrate, FAKE_GUEST } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, fakeOf, helperRequests } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
/** What "fake" was frozen with. */
const FROZEN = { cpus: 1, memoryMiB: 1, diskMiB: 8 };
const LARGER = { cpus: 4, memoryMiB: 385, diskMiB: 64 };
const ADDING: readonly FakeStep[] = ["add-cpu", "add-memory", "add-module", "resize-disk"];

const ORIGINS: readonly (readonly [string, number, ActivateSpec])[] = [
  ["docked", 1, SPEC],
  ["cloned", 0, SPEC],
  ["agent-only", 0, { ...SPEC, channel: "agent" }],
];

async function openWith(docked: number, script: FakeScript = {}): Promise<FakePool> {
  const fake = await openFakePool();
  fake.qemu.script = () => script;
  await fake.pool.dock("fake", { min: docked });
  await fake.pool.docked("fake", { count: docked });
  return fake;
}

describe.each(ORIGINS)("a %s VM", (_, docked, spec) => {
  it("has what was asked for, added before it ran again but for what can be taken away", async () => {
    await using fake = await openWith(docked);
    const vm = await activateOne(fake.pool, { ...spec, resources: LARGER });
    expect(vm.resources).toEqual(LARGER);
    const steps = fakeOf(fake, vm).steps.filter((step) => ADDING.includes(step) || step === "cont");
    const module = ["add-memory", "add-module"];
    const added = ["add-cpu", "add-cpu", "add-cpu", ...module, "resize-disk", "cont", ...module, ...module];
    expect(steps).toEqual([...(docked > 0 ? ["cont"] : []), ...added]);
    const requests = (await helperRequests(vm)).filter((line) => line.includes(" memory="));
    expect(requests.map((request) => request.split(" ").slice(1))).toEqual([
      ["udev=hold", `memory=${(128 + 128) * 1024}`, "onlining=online_movable"],
      ["udev=hold", "cpus=4", `memory=${(128 + 384) * 1024}`, `disk=vda,/,${64 * 2 ** 20}`, "udev=go"],
    ]);
  });

  it("is as it was frozen where nothing else was asked for, and nothing is done to it", async () => {
    await using fake = await openWith(docked);
    const vm = await activateOne(fake.pool, { ...spec, resources: { cpus: 1 } });
    expect(vm.resources).toEqual(FROZEN);
    expect(fakeOf(fake, vm).steps.filter((step) => ADDING.includes(step))).toEqual([]);
    expect((await helperRequests(vm)).filter((line) => /\b(cpus|memory|disk)=/.test(line))).toEqual([]);
    expect(vm.timings.phasesMs.resize).toBeLessThan(5);
  });

  it.each(ADDING)("is none when QEMU fails at %s, or ends there, and nothing is left", async (step) => {
    for (const [action, code] of [
      ["fail", "QMP_COMMAND_FAILED"],
      ["die", "QEMU_EXITED"],
    ] as const) {
      await using fake = await openWith(docked, { at: { [step]: action } });
      const activating = activateOne(fake.pool, { ...spec, resources: LARGER });
      await expect(activating).rejects.toMatchObject({ code });
      expect(fake.pool.vms).toEqual([]);
      await fake.pool.dock("fake", { min: 0 });
      await eventually(() => expectNothingLeft(fake.host.paths, { open: true }));
    }
  });

  it.each<[string, FakeScript, string]>([
    ["fewer processors", { lies: { cpus: "3" } }, "cpus"],
    ["less memory", { lies: { memory: "131072,90000" } }, "memory"],
    ["memory that programs cannot have", { lies: { memory: `${512 * 1024},1000` } }, "memory"],
    ["a smaller disk", { lies: { disk: "vda,8388608,8000000" } }, "disk"],
    ["a file system that did not grow", { lies: { disk: `vda,${64 * 2 ** 20},8000000` } }, "disk"],
    ["another disk", { lies: { disk: `vdb,${64 * 2 ** 20},${64 * 2 ** 20}` } }, "disk"],
    ["nonsense", { lies: { memory: `1e9,${"9".repeat(300)}` } }, "memory"],
  ])("is none when its guest shows %s", async (_case, script, resource) => {
    await using fake = await openWith(docked, script);
    const failure = await activateOne(fake.pool, { ...spec, resources: LARGER }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "RESOURCES_UNVERIFIED", details: { resource } });
    expect((failure as Error).message.length).toBeLessThan(400);
    await fake.pool.dock("fake", { min: 0 });
    await eventually(() => expectNothingLeft(fake.host.paths, { open: true }));
  });

  it("is none when its guest cannot take up what it was given", async () => {
    await using fake = await openWith(docked, { refuses: ["disk"] });
    const activating = activateOne(fake.pool, { ...spec, resources: LARGER });
    await expect(activating).rejects.toMatchObject({ code: "GUEST_HELPER_FAILED", details: { operation: "disk" } });
  });
});

describe("a VM whose root is a partition", () => {
  const growth = FAKE_GUEST.growth;
  const disk = { kind: "partition", device: "vda1", mountPoint: "/", maxDiskMiB: 4096 } as const;

  it("has that grown with its disk, or is none", async () => {
    const cases: readonly (readonly [FakeScript, string | undefined])[] = [
      [{}, undefined],
      [{ lies: { partition: "vda1,1048576,7340032,7000000" } }, "RESOURCES_UNVERIFIED"],
      [{ refuses: ["partition"] }, "GUEST_HELPER_FAILED"],
    ];
    for (const [script, code] of cases) {
      await using fake = await openFakePool();
      fake.qemu.script = () => script;
      const guest = { ...FAKE_GUEST, growth: { maxCpus: 4, maxMemoryMiB: 1025, ...growth, disk } };
      await addFakeSubstrate(fake.host.paths, { name: "cut", manifest: { guest: guest as Manifest["guest"] } });
      const activating = activateOne(fake.pool, { substrate: "cut", resources: { diskMiB: 1024 } });
      if (code !== undefined) {
        await expect(activating).rejects.toMatchObject({ code });
        continue;
      }
      const requests = await helperRequests(await activating);
      expect(requests.some((line) => line.includes(` partition=vda1,/,${1024 * 2 ** 20} `))).toBe(true);
    }
  });
});

describe("resources that cannot be had", () => {
  it.each([{ cpus: 5 }, { memoryMiB: 1026 }, { diskMiB: 4097 }, { diskMiB: 4 }])(
    "are refused before anything is touched: %j",
    async (resources) => {
      await using fake = await openWith(1);
      await expect(activateOne(fake.pool, { ...SPEC, resources })).rejects.toMatchObject({
        code: "RESOURCES_OUT_OF_REACH",
      });
      expect(fake.pool.docks).toMatchObject([{ ready: 1 }]);
      expect(fake.qemu.vms).toHaveLength(1);
    },
  );

  it.each([{ cpus: 0 }, { memoryMiB: 1.5 }, { gpus: 1 }])("are no arguments: %j", async (resources) => {
    await using fake = await openFakePool();
    const activating = activateOne(fake.pool, { ...SPEC, resources });
    await expect(activating).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("are not for cold boots", async () => {
    await using fake = await openFakePool();
    await expect(fake.pool.coldBoot(1, { ...SPEC, resources: { cpus: 2 } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(fake.qemu.vms).toEqual([]);
  });

  it("are memory beyond the budget, also for a clone that waits already", async () => {
    await using fake = await openFakePool({ memoryMiB: 300 });
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    await expect(activateOne(fake.pool, { ...SPEC, resources: { memoryMiB: 385 } })).rejects.toMatchObject({
      code: "INSUFFICIENT_MEMORY",
    });
    expect(fake.pool.docks).toMatchObject([{ ready: 1 }]);
    const vm = await activateOne(fake.pool, { ...SPEC, resources: { memoryMiB: 129 } });
    expect(vm.resources.memoryMiB).toBe(129);
    // What it was given it may yet use: there is no room for another one like it.
    await fake.pool.dock("fake", { min: 0 });
    await expect(activateOne(fake.pool, { ...SPEC, resources: { memoryMiB: 129 } })).rejects.toMatchObject({
      code: "INSUFFICIENT_MEMORY",
    });
    await vm.release();
    await activateOne(fake.pool, { ...SPEC, resources: { memoryMiB: 129 } });
  });
});

describe("a VM that was given resources", () => {
  it("has them after its pool was closed and opened again, and they still count", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool, { ...SPEC, resources: LARGER });
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open({ memoryMiB: 300 });
    expect(next.vms.map(({ id, resources }) => ({ id, resources }))).toEqual([{ id: vm.id, resources: LARGER }]);
    await expect(activateOne(next)).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
  });

  it("has them when its call is repeated", async () => {
    await using fake = await openFakePool();
    const spec = { ...SPEC, resources: { cpus: 2 }, idempotencyKey: "once" };
    const vm = await activateOne(fake.pool, spec);
    expect(await activateOne(fake.pool, spec)).toBe(vm);
    await expect(activateOne(fake.pool, { ...spec, resources: { cpus: 3 } })).rejects.toMatchObject({
      code: "IDEMPOTENCY_KEY_USED",
    });
  });
});

it("a substrate that was not built to grow says so", async () => {
  await using fake = await openFakePool();
  const { guest } = await addFakeSubstrate(fake.host.paths, { name: "other" });
  const { growth: _, ...fixed } = guest;
  await addFakeSubstrate(fake.host.paths, { name: "fixed", manifest: { guest: fixed } });
  await expect(activateOne(fake.pool, { substrate: "fixed", resources: { cpus: 2 } })).rejects.toMatchObject({
    code: "RESOURCES_OUT_OF_REACH",
  });
  const vm = await activateOne(fake.pool, { substrate: "fixed" });
  expect(vm.resources).toEqual(FROZEN);
});
