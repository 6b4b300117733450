import { describe, expect, it } from "vitest";
import type { ActivateSpec, Pool } from "../../lib/pool/index.ts";
import { eventually } from "../support/eventually.ts";
import { openFakePool } from "../support/fake-host.ts";
import { activateOne } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
const WAITING: ActivateSpec = { ...SPEC, wait: true };
/** Of which each VM is counted with 64 until several were measured. */
const ROOM_FOR_TWO = { memoryMiB: 2 * 64 };

function positions(pool: Pool): string[] {
  const seen: string[] = [];
  pool.events.on("waiting", ({ count, position }) => void seen.push(`${count} as ${position}`));
  return seen;
}

describe("a call that finds too little memory", () => {
  it("fails at once, with a code, and what it holds is free for the next", async () => {
    await using fake = await openFakePool(ROOM_FOR_TWO);
    await expect(fake.pool.activate(3, SPEC)).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
    expect(fake.qemu.vms).toEqual([]);
    const vms = await fake.pool.activate(2, SPEC);
    await expect(fake.pool.activate(1, SPEC)).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
    await vms[0]?.release();
    expect(await activateOne(fake.pool)).toMatchObject({ hostname: "fake-0" });
  });

  it("never has more than there is room for, however many calls come at once", async () => {
    await using fake = await openFakePool(ROOM_FOR_TWO);
    await fake.pool.dock("fake", { min: 1, primed: false });
    await fake.pool.docked("fake", { count: 1 });
    const calls = await Promise.allSettled(Array.from({ length: 4 }, () => fake.pool.activate(1, SPEC)));
    expect(calls.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
    expect(fake.pool.vms).toHaveLength(2);
  });

  it("waits in line when it is told to: who came first is served first", async () => {
    await using fake = await openFakePool(ROOM_FOR_TWO);
    const seen = positions(fake.pool);
    const [first, second] = await fake.pool.activate(2, SPEC);
    const large = fake.pool.activate(2, WAITING);
    await eventually(() => expect(seen).toEqual(["2 as 1"]));
    const small = fake.pool.activate(1, WAITING);
    await eventually(() => expect(seen).toEqual(["2 as 1", "1 as 2"]));
    const impatient = fake.pool.activate(1, SPEC);
    await expect(impatient).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY", details: { waiting: 2 } });
    await first?.release();
    await expect(fake.pool.activate(1, SPEC)).rejects.toMatchObject({ details: { waiting: 2 } });
    await second?.release();
    const [third] = await large;
    expect(seen).toEqual(["2 as 1", "1 as 2", "1 as 1"]);
    await third?.release();
    expect(await small).toMatchObject([{ state: "running" }]);
    expect(fake.pool.vms).toHaveLength(2);
  });

  it("waits no longer than its deadline, nor after it was aborted or its pool closed", async () => {
    await using fake = await openFakePool(ROOM_FOR_TWO);
    await fake.pool.activate(2, SPEC);
    const controller = new AbortController();
    const seen = positions(fake.pool);
    const [late, aborted, closed] = [
      fake.pool.activate(1, { ...WAITING, timeoutMs: 100 }),
      fake.pool.activate(1, WAITING, { signal: controller.signal }),
      fake.pool.activate(1, WAITING),
    ];
    for (const one of [late, aborted, closed]) one.catch(() => {});
    await eventually(() => expect(seen).toHaveLength(3));
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    await expect(late).rejects.toMatchObject({ code: "TIMEOUT" });
    await fake.pool.close();
    await expect(closed).rejects.toMatchObject({ code: "POOL_CLOSED" });
    expect(fake.qemu.vms).toHaveLength(2);
  });

  it("keeps docks from taking what it waits for", async () => {
    await using fake = await openFakePool(ROOM_FOR_TWO);
    const seen = positions(fake.pool);
    const [first] = await fake.pool.activate(2, SPEC);
    const waiting = fake.pool.activate(1, WAITING);
    await eventually(() => expect(seen).toEqual(["1 as 1"]));
    await fake.pool.dock("fake", { min: 1 });
    await first?.release();
    expect(await waiting).toMatchObject([{ origin: "cloned" }]);
    expect(fake.pool.docks).toMatchObject([{ ready: 0 }]);
  });

  it("is told of by its dock, which goes on when there is room, and counts no failure", async () => {
    await using fake = await openFakePool(ROOM_FOR_TWO);
    const [first] = await fake.pool.activate(2, SPEC);
    await fake.pool.dock("fake", { min: 1, primed: false });
    await eventually(() =>
      expect(fake.pool.docks).toMatchObject([
        { ready: 0, failures: 0, breaker: "closed", lastError: expect.stringContaining("needs about 64.0 MiB") },
      ]),
    );
    await first?.release();
    expect(await fake.pool.docked("fake", { count: 1 })).toMatchObject({ ready: 1, lastError: undefined });
  });
});

describe("a call that finds too few addresses", () => {
  const network = { subnet: "10.1.0.0/30" };

  it("fails at once, nothing is allocated, and it succeeds after a release", async () => {
    await using fake = await openFakePool();
    const vms = await fake.pool.activate(2, { ...SPEC, network });
    await expect(fake.pool.activate(1, { ...SPEC, network })).rejects.toMatchObject({ code: "LEASE_EXHAUSTED" });
    expect(fake.qemu.vms).toHaveLength(2);
    await vms[1]?.release();
    expect(await activateOne(fake.pool, { ...SPEC, network })).toMatchObject({ address: "10.1.0.2" });
  });

  it("waits for a release when it is told to", async () => {
    await using fake = await openFakePool();
    const seen = positions(fake.pool);
    const vms = await fake.pool.activate(2, { ...SPEC, network });
    const waiting = fake.pool.activate(1, { ...WAITING, network });
    await eventually(() => expect(seen).toEqual(["1 as 1"]));
    await vms[0]?.release();
    expect(await waiting).toMatchObject([{ address: "10.1.0.1" }]);
  });

  it("that no release could ever serve fails at once, though it is told to wait", async () => {
    await using fake = await openFakePool();
    const waiting = fake.pool.activate(3, { ...WAITING, network, timeoutMs: 2000 });
    await expect(waiting).rejects.toMatchObject({ code: "LEASE_EXHAUSTED" });
  });
});
