import { describe, expect, it } from "vitest";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { openFakePool } from "../support/fake-host.ts";
import { activateOne } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
const MCAST: ActivateSpec = { ...SPEC, network: { fabric: "mcast" } };
const QUARANTINE_MS = 300;
const LONG_MS = 600_000;

describe("the address of a VM that is gone", () => {
  it("is given to nobody for a while, when neighbours may remember whose it was", async () => {
    await using fake = await openFakePool({ addressQuarantineMs: LONG_MS });
    const vm = await activateOne(fake.pool, MCAST);
    await vm.release();
    expect(await activateOne(fake.pool, MCAST)).toMatchObject({ address: "10.77.0.2", hostname: "fake-0" });
    const asked = fake.pool.activate(1, { ...MCAST, network: { fabric: "mcast", addresses: [vm.address] } });
    await expect(asked).rejects.toMatchObject({
      code: "LEASE_CONFLICT",
      message: expect.stringContaining("quarantined"),
    });
  });

  it("is so also after a crash of its QEMU, and for whoever opens next", async () => {
    await using fake = await openFakePool({ addressQuarantineMs: LONG_MS });
    const [victim] = await fake.pool.activate(2, MCAST);
    const exited = new Promise((resolve) => victim?.events.once("exit", resolve));
    process.kill(victim?.pid ?? 0, "SIGKILL");
    await exited;
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open({ addressQuarantineMs: LONG_MS });
    expect(await activateOne(next, MCAST)).toMatchObject({ address: "10.77.0.3" });
  });

  it("is free again after that while", async () => {
    await using fake = await openFakePool({ addressQuarantineMs: QUARANTINE_MS });
    const network = { fabric: "mcast", subnet: "10.1.0.0/30" } as const;
    const [vm] = await fake.pool.activate(2, { ...SPEC, network });
    const releasedAt = performance.now();
    await vm?.release();
    await expect(fake.pool.activate(1, { ...SPEC, network })).rejects.toMatchObject({
      code: "LEASE_EXHAUSTED",
      details: { quarantined: 1 },
    });
    const [next] = await fake.pool.activate(1, { ...SPEC, network, wait: true });
    expect(next?.address).toBe(vm?.address);
    expect(performance.now() - releasedAt).toBeGreaterThanOrEqual(QUARANTINE_MS);
  });

  it("is free at once when it had no neighbours", async () => {
    await using fake = await openFakePool({ addressQuarantineMs: LONG_MS });
    const vm = await activateOne(fake.pool);
    await vm.release();
    expect(await activateOne(fake.pool)).toMatchObject({ address: vm.address });
  });

  it("is free at once when it was only kept ready", async () => {
    await using fake = await openFakePool({ addressQuarantineMs: LONG_MS });
    await fake.pool.dock("fake", { min: 2 });
    await fake.pool.docked("fake", { count: 2 });
    await fake.pool.dock("fake", { min: 0 });
    const spec: ActivateSpec = { ...SPEC, network: { fabric: "mcast", addresses: ["10.77.0.1"] } };
    expect(await activateOne(fake.pool, spec)).toMatchObject({ address: "10.77.0.1" });
  });
});

describe("a hundred calls at the same time", () => {
  it.each<[string, ActivateSpec]>([
    ["address", { ...SPEC, network: { addresses: ["10.77.0.7"] } }],
    ["hostname", { ...SPEC, hostname: "only" }],
    ["MAC", { ...SPEC, network: { macs: ["02:00:00:00:00:07"] } }],
    ["address, of a docked clone,", { ...SPEC, network: { addresses: ["10.77.0.1"] } }],
  ])("for one %s: one gets it, the others LEASE_CONFLICT", async (_, spec) => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    const results = await Promise.allSettled(Array.from({ length: 100 }, () => fake.pool.activate(1, spec)));
    const codes = results.flatMap((result) => (result.status === "rejected" ? [result.reason.code as string] : []));
    expect(codes).toHaveLength(99);
    expect(new Set(codes)).toEqual(new Set(["LEASE_CONFLICT"]));
    expect(fake.pool.vms).toHaveLength(1);
  });

  it("for one idempotency key: one VM, which all get", async () => {
    await using fake = await openFakePool();
    const spec: ActivateSpec = { ...SPEC, idempotencyKey: "only" };
    const results = await Promise.all(Array.from({ length: 100 }, () => fake.pool.activate(1, spec)));
    expect(new Set(results.flat()).size).toBe(1);
    expect(fake.qemu.vms).toHaveLength(1);
  });
});
