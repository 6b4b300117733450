import { describe, expect, it } from "vitest";
import type { ActivateSpec, DockOptions } from "../../lib/pool/index.ts";
import { type FakePool, openFakePool } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft, NOTHING_COLLECTED } from "../support/nothing-left.ts";
import { activateOne, fakeOf, helperRequests, said, textOf } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHhxU6qd1nvpIwvMqgIW4FbIFpVxFyJJ7rX2mJbJfT1c player";

async function docked(count: number, options: DockOptions = {}): Promise<FakePool> {
  const fake = await openFakePool({ parallelStarts: 1 }); // so that the n-th has the n-th identity
  await fake.pool.dock("fake", { min: count, ...options });
  await fake.pool.docked("fake", { count });
  return fake;
}

/** Five of nobody's while it was warmed, and its own. */
const WHEN_PRIMED = 6;

/** What the guest was told to be: requests that set a MAC, an address or a name. */
function identitiesSet(requests: readonly string[]): string[] {
  return requests.filter((line) => / mac=\S+,/.test(line));
}

describe("a claim that a primed clone was made for", () => {
  it("takes it with the identity that it has, which is only read again", async () => {
    await using fake = await docked(1);
    const vm = await activateOne(fake.pool, { ...SPEC, network: { fabric: "mcast" } });
    expect(vm).toMatchObject({ origin: "docked", hostname: "fake-0", address: "10.77.0.1" });
    const requests = await helperRequests(vm);
    expect(identitiesSet(requests)).toHaveLength(WHEN_PRIMED);
    expect(requests.findLast((line) => line.includes(" mac="))).toMatch(/ hostname= mac=eth0 ipv4=eth0 /);
    expect(await said(vm, "hostname")).toBe("fake-0");
    expect(await textOf(vm, "/etc/machine-id")).toBe(`${vm.machineId}\n`);
  });

  it("takes it also when it names the same pattern and network as its dock does", async () => {
    const network = { subnet: "10.9.0.0/24", reserved: ["10.9.0.1-10.9.0.9"] };
    await using fake = await docked(1, { hostname: "node-{index}", network });
    const vm = await activateOne(fake.pool, { ...SPEC, hostname: "node-{index}", network });
    expect(vm).toMatchObject({ origin: "docked", hostname: "node-0", address: "10.9.0.10" });
    expect(identitiesSet(await helperRequests(vm))).toHaveLength(WHEN_PRIMED);
  });

  it("prefers it to clones that would have to be renamed", async () => {
    await using fake = await docked(2);
    const named = await activateOne(fake.pool, { ...SPEC, hostname: "other" }); // takes one of two
    await fake.pool.docked("fake", { count: 2 });
    const vm = await activateOne(fake.pool);
    expect(identitiesSet(await helperRequests(named))).toHaveLength(WHEN_PRIMED + 1);
    expect(identitiesSet(await helperRequests(vm))).toHaveLength(WHEN_PRIMED);
  });

  it("gives it the keys that were not known when it was primed", async () => {
    await using fake = await docked(1);
    const vm = await activateOne(fake.pool, { ...SPEC, authorizedKeys: [KEY] });
    expect(vm.origin).toBe("docked");
    expect(await textOf(vm, "/root/.ssh/authorized_keys")).toBe(`${KEY}\n`);
    expect(await said(vm, "stat", "-c", "%a", "/root/.ssh/authorized_keys")).toBe("600");
  });
});

describe("a claim that no docked clone was made for", () => {
  it.each<[string, ActivateSpec, Readonly<Record<string, string>>]>([
    ["another name", { ...SPEC, hostname: "match-7" }, { hostname: "match-7" }],
    ["another pattern", { ...SPEC, hostname: "match-{index}" }, { hostname: "match-0" }],
    ["a list of names", { ...SPEC, hostname: ["alpha"] }, { hostname: "alpha" }],
    ["another network", { ...SPEC, network: { subnet: "10.8.0.0/24" } }, { address: "10.8.0.1" }],
    ["an address", { ...SPEC, network: { addresses: ["10.77.1.9"] } }, { address: "10.77.1.9" }],
    ["a MAC", { ...SPEC, network: { macs: ["02:00:00:00:00:07"] } }, { mac: "02:00:00:00:00:07" }],
  ])("of %s renames one", async (_, spec, expected) => {
    await using fake = await docked(1);
    const vm = await activateOne(fake.pool, { ...spec, authorizedKeys: [KEY] });
    expect(vm).toMatchObject({ origin: "docked", ...expected });
    expect(await said(vm, "hostname")).toBe(vm.hostname);
    expect(identitiesSet(await helperRequests(vm)).at(-1)).toContain(` mac=eth0,${vm.mac} ipv4=eth0,${vm.address},`);
    expect(await textOf(vm, "/root/.ssh/authorized_keys")).toBe(`${KEY}\n`);
  });

  it("gives the names of a list in its order", async () => {
    await using fake = await docked(2);
    const hostname = ["delta", "alpha", "charlie"];
    const vms = await fake.pool.activate(3, { ...SPEC, hostname });
    expect(vms.map((vm) => vm.hostname)).toEqual(hostname);
    expect(await Promise.all(vms.map((vm) => said(vm, "hostname")))).toEqual(hostname);
    expect(vms.map(({ origin }) => origin)).toEqual(["docked", "docked", "cloned"]);
  });
});

/** What the docked clones of a pool hold, by the identities that a later claim for all of them would keep. */
const HELD: readonly (readonly [string, ActivateSpec])[] = [
  ["a hostname", { ...SPEC, hostname: "fake-1" }],
  ["a hostname in a list", { ...SPEC, hostname: ["fake-1"] }],
  ["an address", { ...SPEC, network: { addresses: ["10.77.0.2"] } }],
];

describe("a value that a docked clone holds", () => {
  it.each(HELD)("%s, goes to the claim that asks for it, with that clone", async (_, spec) => {
    await using fake = await docked(2);
    const vm = await activateOne(fake.pool, spec);
    expect(vm.pid).toBe(fake.qemu.vms[1]?.pid); // the one that had it, though not the first in the dock
    expect(vm.origin).toBe("docked");
    expect(fake.pool.docks[0]?.ready).toBe(1);
  });

  it("a MAC, goes to the claim that asks for it", async () => {
    await using fake = await docked(2);
    const [, second] = fake.qemu.vms;
    const [mac = ""] =
      /(?<= mac=eth0,)\S+/.exec(second?.requests.findLast((line) => line.includes(" mac=eth0,")) ?? "") ?? [];
    const vm = await activateOne(fake.pool, { ...SPEC, network: { macs: [mac] } });
    expect(vm).toMatchObject({ mac, origin: "docked", pid: second?.pid });
  });

  it.each(HELD)("%s, is given up by a clone that the claim cannot use", async (_, spec) => {
    await using fake = await docked(2);
    const vm = await activateOne(fake.pool, { ...spec, channel: "agent" });
    expect(vm.origin).toBe("cloned");
    await fake.pool.docked("fake", { count: 2 });
    expect(await fake.pool.gc()).toMatchObject({ processes: [], folders: [], leases: [] });
    expect(() => process.kill(fake.qemu.vms[1]?.pid ?? 0, 0)).toThrow("ESRCH"); // evicted
  });

  it.each(HELD)("%s, is given up by a clone of another substrate's dock", async (_, spec) => {
    await using fake = await docked(2);
    await addFakeSubstrate(fake.host.paths, { name: "other" });
    const vm = await activateOne(fake.pool, { ...spec, substrate: "other" });
    expect(await said(vm, "hostname")).toBe(vm.hostname);
    expect(fake.pool.vms).toEqual([vm]);
    await fake.pool.docked("fake", { count: 2 });
    expect(() => process.kill(fake.qemu.vms[1]?.pid ?? 0, 0)).toThrow("ESRCH");
  });

  it.each(HELD)("%s, is waited for while its clone is still being made", async (_, spec) => {
    await using fake = await openFakePool({ parallelStarts: 3 });
    fake.qemu.script = (vm) => (vm < 2 ? { at: { "rx-filter": "hold" } } : {});
    await fake.pool.dock("fake", { min: 2 });
    await Promise.all([fake.qemu.reached("rx-filter", 0), fake.qemu.reached("rx-filter", 1)]);
    const activating = fake.pool.activate(1, spec);
    activating.catch(() => {});
    for (const vm of fake.qemu.vms.slice(0, 2)) {
      await vm.follow({});
      vm.pass("rx-filter");
    }
    expect(await activating).toMatchObject([{ state: "running" }]);
  });

  it("leaves the dock untouched when the claim is refused for another reason", async () => {
    await using fake = await docked(2);
    const twice = { ...SPEC, hostname: ["fake-1"], network: { addresses: ["10.77.0.2", "10.77.0.3"] } };
    await expect(fake.pool.activate(1, twice)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(fake.pool.docks[0]?.ready).toBe(2);
    expect((await fake.pool.activate(2, SPEC)).map(({ origin }) => origin)).toEqual(["docked", "docked"]);
  });
});

describe("activateSettled", () => {
  it("gives an outcome for each, in order: those that were made, and what kept the others", async () => {
    await using fake = await openFakePool({ parallelStarts: 1 });
    fake.qemu.script = (vm) => (vm === 1 ? { lies: { hostname: "localhost" } } : {});
    const outcomes = await fake.pool.activateSettled(3, { ...SPEC, hostname: ["a", "b", "c"] });
    expect(outcomes).toMatchObject([
      { vm: { hostname: "a", state: "running" } },
      { error: { code: "IDENTITY_UNVERIFIED" } },
      { vm: { hostname: "c", state: "running" } },
    ]);
    expect(fake.pool.vms.map(({ hostname }) => hostname)).toEqual(["a", "c"]);
    expect(await fake.pool.gc()).toEqual(NOTHING_COLLECTED);
    expect(await activateOne(fake.pool, { ...SPEC, hostname: "b" })).toMatchObject({ address: "10.77.0.2" });
  });

  it("ends a docked clone that failed, and keeps the others", async () => {
    await using fake = await docked(2);
    await fakeOf(fake, { pid: fake.qemu.vms[0]?.pid ?? 0 }).follow({ lies: { mac: "eth0,52:54:00:12:34:56" } });
    const outcomes = await fake.pool.activateSettled(2, SPEC);
    expect(outcomes).toMatchObject([{ error: { code: "IDENTITY_UNVERIFIED" } }, { vm: { origin: "docked" } }]);
    expect(() => process.kill(fake.qemu.vms[0]?.pid ?? 0, 0)).toThrow("ESRCH");
  });

  it("leaves nothing when all fail, and throws what concerns the whole call", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { load: "die" } });
    const outcomes = await fake.pool.activateSettled(2, SPEC);
    expect(outcomes).toMatchObject([{ error: { code: "QEMU_EXITED" } }, { error: { code: "QEMU_EXITED" } }]);
    await expectNothingLeft(fake.host.paths, { open: true });
    await expect(fake.pool.activateSettled(0, SPEC)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
