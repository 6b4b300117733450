import { afterEach, describe, expect, it, vi } from "vitest";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { beginLifetime, extendLifetime, nextDue } from "../../lib/pool/lifetime.ts";
import { eventually } from "../support/eventually.ts";
import { FakeHost, openFakePool } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";
import { activateOne, announced, fakeOf } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
/** Long enough for a VM to be looked at before it is over, on a busy machine, too. */
const SHORT_MS = 150;
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;
/** By how much an expiry that is told may differ from one that is computed here. */
const NEAR_MS = 2000;

afterEach(() => {
  vi.useRealTimers();
});

describe("a VM's time", () => {
  it("is up after ttlMs: it is released, and says so", async () => {
    await using fake = await openFakePool();
    const seen = announced(fake.pool);
    const vm = await activateOne(fake.pool, { ...SPEC, ttlMs: SHORT_MS });
    expect(Math.abs((vm.expiresAt?.getTime() ?? 0) - Date.now() - SHORT_MS)).toBeLessThan(NEAR_MS);
    await eventually(() => expect(seen).toEqual(["activated fake-0", "released fake-0"]));
    await expect(vm.exec(["true"])).rejects.toMatchObject({ code: "VM_GONE" });
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it("never comes to an end by default", async () => {
    await using fake = await openFakePool();
    expect((await activateOne(fake.pool)).expiresAt).toBeUndefined();
  });

  it("can end in parking it, until it is resumed", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool, { ...SPEC, ttlMs: SHORT_MS, onExpiry: "park" });
    await eventually(() => expect(vm.state).toBe("parked"));
    await eventually(() => expect(vm.expiresAt).toBeUndefined());
    await vm.resume();
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    expect(next.vms.map(({ state, expiresAt }) => [state, expiresAt])).toEqual([["running", undefined]]);
    await new Promise(setImmediate);
    expect(next.vms.map(({ state }) => state)).toEqual(["running"]);
  });

  it("ends for good after maxLifetimeMs, also of one that was parked before", async () => {
    await using fake = await openFakePool();
    const seen = announced(fake.pool);
    const spec: ActivateSpec = { ...SPEC, ttlMs: SHORT_MS, maxLifetimeMs: 3 * SHORT_MS, onExpiry: "park" };
    await activateOne(fake.pool, spec);
    await eventually(() => expect(seen).toEqual(["activated fake-0", "parked fake-0", "released fake-0"]));
  });

  it("is put off by extend, from now on", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool, { ...SPEC, ttlMs: SHORT_MS });
    const at = await vm.extend(HOUR_MS);
    expect(Math.abs(at.getTime() - Date.now() - HOUR_MS)).toBeLessThan(NEAR_MS);
    expect(Math.abs((vm.expiresAt?.getTime() ?? 0) - at.getTime())).toBeLessThan(NEAR_MS);
    const other = await activateOne(fake.pool, { ...SPEC, ttlMs: SHORT_MS });
    await eventually(() => expect(other.state).toBe("released"));
    expect(vm.state).toBe("running");
    await vm.extend(1); // also nearer
    await eventually(() => expect(vm.state).toBe("released"));
  });

  it("is not put off beyond maxLifetimeMs", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool, { ...SPEC, maxLifetimeMs: HOUR_MS });
    await expect(vm.extend(HOUR_MS + 1)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { wantedMs: HOUR_MS + 1 },
    });
    await vm.extend(HOUR_MS / 2);
    for (const ms of [0, -1, 1.5, Number.NaN, "5", 2 ** 31]) {
      await expect(vm.extend(ms as number), String(ms)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  it("that is put off while it is being parked for the last one is the new one", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool, { ...SPEC, ttlMs: SHORT_MS, onExpiry: "park" });
    const machine = fakeOf(fake, vm);
    await machine.follow({ at: { stop: "hold" } });
    await fake.qemu.reached("stop");
    await vm.extend(HOUR_MS);
    machine.pass("stop");
    await eventually(() => expect(vm.state).toBe("parked"));
    await new Promise(setImmediate);
    expect(Math.abs((vm.expiresAt?.getTime() ?? 0) - Date.now() - HOUR_MS)).toBeLessThan(NEAR_MS);
  });
});

describe("a VM's time goes on", () => {
  it("after its pool was closed and opened again", async () => {
    await using fake = await openFakePool();
    await activateOne(fake.pool, { ...SPEC, ttlMs: SHORT_MS });
    const lasting = await activateOne(fake.pool, { ...SPEC, ttlMs: 1 + HOUR_MS });
    await lasting.extend(HOUR_MS);
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    await eventually(() => expect(next.vms.map(({ id }) => id)).toEqual([lasting.id]));
    const [vm] = next.vms;
    expect(Math.abs((vm?.expiresAt?.getTime() ?? 0) - Date.now() - HOUR_MS)).toBeLessThan(NEAR_MS);
  });

  it("while nobody owns it: whoever comes next ends it", async () => {
    await using host = await FakeHost.create();
    await addFakeSubstrate(host.paths);
    {
      await using owner = await PoolOwner.start({ options: host.options(), does: { vms: 2, ttlMs: 1000 } });
      expect(owner.said).toEqual(["ready"]);
    }
    await using next = await host.open();
    await eventually(() => expect(next.vms).toEqual([]));
    await expectNothingLeft(host.paths, { open: true });
  });

  it.each([
    ["an hour ahead", HOUR_MS],
    ["an hour back", -HOUR_MS],
    ["ten years ahead", 10 * YEAR_MS],
  ])("when the machine's clock is set %s", async (_, byMs) => {
    await using fake = await openFakePool();
    const lasting = await activateOne(fake.pool, { ...SPEC, ttlMs: HOUR_MS / 2 });
    const short = await activateOne(fake.pool, { ...SPEC, ttlMs: SHORT_MS });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + byMs });
    await eventually(() => expect(short.state).toBe("released"));
    expect(lasting.state).toBe("running");
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    await new Promise(setImmediate);
    expect(next.vms.map(({ id, state }) => `${id} ${state}`)).toEqual([`${lasting.id} running`]);
  });
});

describe("a lifetime", () => {
  it("ends at the earlier of its ttl and its greatest length", () => {
    const lifetime = beginLifetime({ ttlMs: 100, maxLifetimeMs: 50, onExpiry: "park" }, 1000);
    expect(nextDue(lifetime)).toEqual({ atMs: 1050, what: "release" });
    expect(nextDue(beginLifetime({ ttlMs: 40, maxLifetimeMs: 50, onExpiry: "park" }, 1000))).toEqual({
      atMs: 1040,
      what: "park",
    });
    expect(nextDue(beginLifetime({ onExpiry: "release" }, 1000))).toBeUndefined();
  });

  it("may be extended up to its greatest length exactly", () => {
    const lifetime = beginLifetime({ ttlMs: 10, maxLifetimeMs: 50, onExpiry: "release" }, 1000);
    expect(extendLifetime(lifetime, 1020, 30).expiresAtMs).toBe(1050);
    expect(() => extendLifetime(lifetime, 1020, 31)).toThrow("ends in 30 ms");
  });
});
