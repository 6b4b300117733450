import { describe, expect, it } from "vitest";
import { type ActivateSpec, Pool } from "../../lib/pool/index.ts";
import { openFakePool } from "../support/fake-host.ts";
import { activateOne } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake", idempotencyKey: "match-7" };
const USED = { code: "IDEMPOTENCY_KEY_USED", details: { key: "match-7" } };

describe("a call that is repeated with its key", () => {
  it("while it is under way shares its VMs", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { cont: "hold" } });
    const first = fake.pool.activate(1, SPEC);
    (await fake.qemu.reached("cont")).pass("cont");
    const again = fake.pool.activate(1, { ...SPEC });
    expect(await again).toEqual(await first);
    expect(fake.qemu.vms).toHaveLength(1);
  });

  it("and given up while the first is under way leaves that alone", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { cont: "hold" } });
    const first = fake.pool.activate(1, SPEC);
    const vm = await fake.qemu.reached("cont");
    const giveUp = new AbortController();
    const again = fake.pool.activate(1, SPEC, { signal: giveUp.signal });
    giveUp.abort();
    await expect(again).rejects.toMatchObject({ code: "ABORTED" });
    await expect(fake.pool.activate(1, { ...SPEC, timeoutMs: 20 })).rejects.toMatchObject({ code: "TIMEOUT" });
    vm.pass("cont");
    expect(await first).toHaveLength(1);
  });

  it("is the same call in another order of fields, and with another patience", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, { ...SPEC, labels: { a: "1", b: "2" }, timeoutMs: 20_000 });
    const again = { wait: true, labels: { b: "2", a: "1" }, ...SPEC };
    expect(await fake.pool.activate(1, again)).toEqual([vm]);
  });

  it("after it gives the same handles, in order", async () => {
    await using fake = await openFakePool();
    const vms = await fake.pool.activate(3, SPEC);
    const again = await fake.pool.activate(3, SPEC);
    for (const [i, vm] of again.entries()) expect(vm).toBe(vms[i]);
    expect(fake.pool.vms).toHaveLength(3);
  });

  it("after one of its VMs is gone makes no other", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(2, SPEC);
    await vm?.release();
    await expect(fake.pool.activate(2, SPEC)).rejects.toMatchObject(USED);
    expect(fake.pool.vms).toHaveLength(1);
  });

  it("after reopening gives the VMs that were taken over", async () => {
    await using fake = await openFakePool();
    const vms = await fake.pool.activate(2, SPEC);
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    const again = await next.activate(2, SPEC);
    expect(again.map(({ id }) => id)).toEqual(vms.map(({ id }) => id));
    expect(fake.qemu.vms).toHaveLength(2);
  });

  it("after reopening makes no other when they were released", async () => {
    await using fake = await openFakePool();
    await fake.pool.activate(1, SPEC);
    await fake.pool.close();
    await using next = await fake.host.open();
    await expect(next.activate(1, SPEC)).rejects.toMatchObject(USED);
  });

  it.each<[string, number, ActivateSpec]>([
    ["another number of VMs", 2, SPEC],
    ["another name", 1, { ...SPEC, hostname: "solo" }],
    ["other content of a file", 1, { ...SPEC, files: [{ path: "/a", content: Uint8Array.of(2) }] }],
  ])("but with %s is refused, also while the first is under way", async (_, count, spec) => {
    await using fake = await openFakePool();
    const first = { ...SPEC, files: [{ path: "/a", content: Uint8Array.of(1) }] };
    const activating = fake.pool.activate(1, first);
    await expect(fake.pool.activate(count, spec)).rejects.toMatchObject(USED);
    await activating;
    await expect(fake.pool.activate(count, spec)).rejects.toMatchObject(USED);
    expect(fake.qemu.vms).toHaveLength(1);
  });

  it("is another call when it is for outcomes rather than for VMs", async () => {
    await using fake = await openFakePool();
    await fake.pool.activate(1, SPEC);
    await expect(fake.pool.activateSettled(1, SPEC)).rejects.toMatchObject(USED);
  });
});

describe("the key of a call that failed is free again", () => {
  it("for all who shared it, and for the next", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm === 0 ? { at: { load: "die" } } : {});
    const failed = await Promise.allSettled([fake.pool.activate(1, SPEC), fake.pool.activate(1, SPEC)]);
    expect(failed).toMatchObject([{ reason: { code: "QEMU_EXITED" } }, { reason: { code: "QEMU_EXITED" } }]);
    expect(fake.qemu.vms).toHaveLength(1);
    expect(await activateOne(fake.pool, SPEC)).toMatchObject({ hostname: "fake-0" });
  });

  it("when it failed before anything was begun", async () => {
    await using fake = await openFakePool();
    const spec: ActivateSpec = { ...SPEC, network: { subnet: "10.1.0.0/30" } };
    await expect(fake.pool.activate(3, spec)).rejects.toMatchObject({ code: "LEASE_EXHAUSTED" });
    expect(await activateOne(fake.pool, { ...SPEC, hostname: "other-arguments" })).toMatchObject({ state: "running" });
  });

  it("when none of its VMs could be made", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm < 2 ? { at: { load: "die" } } : {});
    expect(await fake.pool.activateSettled(2, SPEC)).toMatchObject([{ error: {} }, { error: {} }]);
    expect(await fake.pool.activateSettled(2, SPEC)).toMatchObject([{ vm: {} }, { vm: {} }]);
  });

  it("when it was aborted in the very moment in which it succeeded", async () => {
    await using fake = await openFakePool();
    await fake.pool.close();
    const controller = new AbortController();
    const failpoint = (name: string) => name === "claim.handed-over" && controller.abort();
    await using pool = await Pool.open(fake.host.options(), { failpoint });
    const activating = pool.activate(1, SPEC, { signal: controller.signal });
    await expect(activating).rejects.toMatchObject({ code: "ABORTED" });
    expect(pool.vms).toEqual([]);
    expect(await activateOne(pool, SPEC)).toMatchObject({ state: "running" });
  });

  it("after its owner died in the middle of it", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { load: "hold" } });
    const activating = fake.pool.activate(1, SPEC);
    activating.catch(() => {});
    await fake.qemu.reached("load");
    await fake.pool.close();
    await expect(activating).rejects.toMatchObject({ code: "POOL_CLOSED" });
    fake.qemu.script = () => ({});
    await using next = await fake.host.open();
    expect(await activateOne(next, SPEC)).toMatchObject({ state: "running" });
  });
});

it("a repeated call for outcomes tells again which VM could not be made", async () => {
  await using fake = await openFakePool({ parallelStarts: 1 });
  fake.qemu.script = (vm) => (vm === 1 ? { at: { load: "die" } } : {});
  const first = await fake.pool.activateSettled(3, SPEC);
  const again = await fake.pool.activateSettled(3, SPEC);
  const shape = (outcomes: typeof first) => outcomes.map((one) => ("vm" in one ? one.vm.id : one.error.code));
  expect(shape(again)).toHaveLength(3);
  expect(shape(again)[0]).toBe(shape(first)[0]);
  expect(again[1]).toHaveProperty("error");
  expect(shape(again)[2]).toBe(shape(first)[2]);
});
