import { existsSync, watch } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type ActivateSpec, type CallOptions, Pool, type PoolOptions } from "../../lib/pool/index.ts";
import { openFakePool } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

const SPEC: ActivateSpec = { substrate: "fake" };

/** Resolves when a file of that name is in `dir`. */
async function appears(dir: string, name: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const watcher = watch(dir, (_, changed) => changed === name && resolve());
  if (existsSync(join(dir, name))) resolve();
  await promise;
  watcher.close();
}

describe("activate", () => {
  it("gives one VM whose identity the guest, the monitor and the pool agree on", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    expect(vm).toMatchObject({ hostname: "fake-0", address: "10.77.0.1", state: "running" });
    expect(vm?.mac).toMatch(/^02(:[0-9a-f]{2}){5}$/);
    expect(vm?.machineId).toMatch(/^[0-9a-f]{32}$/);
    expect(vm?.pid).toBe(fake.qemu.vms[0]?.pid);
    const text = async (path: string) => new TextDecoder().decode(await vm?.readFile(path));
    expect(await text("/etc/hostname")).toBe("fake-0\n");
    expect(await text("/etc/hosts")).toContain("10.77.0.1 fake-0");
    expect(await text("/etc/machine-id")).toBe(`${vm?.machineId}\n`);
    expect((await vm?.exec(["hostname"]))?.stdout).toBe("fake-0\n");
    expect(fake.pool.vms).toEqual([vm]);
  });

  it("gives eight VMs that share nothing that must differ", async () => {
    await using fake = await openFakePool();
    const vms = await fake.pool.activate(8, SPEC);
    for (const field of ["id", "hostname", "address", "mac", "machineId", "sshHostKey", "pid"] as const) {
      expect(new Set(vms.map((vm) => vm[field])).size, field).toBe(8);
    }
    expect(vms.map((vm) => vm.hostname)).toEqual(Array.from({ length: 8 }, (_, i) => `fake-${i}`));
    expect(vms.map((vm) => vm.address)).toEqual(Array.from({ length: 8 }, (_, i) => `10.77.0.${i + 1}`));
  });

  it("starts no more VMs at a time than parallelStarts", async () => {
    await using fake = await openFakePool({ parallelStarts: 1 });
    fake.qemu.script = (vm) => (vm === 0 ? { at: { cont: "hold" } } : {});
    const activating = fake.pool.activate(3, SPEC);
    const first = await fake.qemu.reached("cont", 0);
    expect(fake.qemu.vms).toHaveLength(1);
    first.pass("cont");
    expect(await activating).toHaveLength(3);
  });

  it("takes the lowest free hostname and address again after a release", async () => {
    await using fake = await openFakePool();
    const [first, second] = await fake.pool.activate(2, SPEC);
    await first?.release();
    const [third] = await fake.pool.activate(1, SPEC);
    expect(third).toMatchObject({ hostname: first?.hostname, address: first?.address });
    expect(third?.mac).not.toBe(first?.mac);
    expect(second?.state).toBe("running");
  });

  it("is plugged into nothing until the identity is verified, and then only into a fabric", async () => {
    await using fake = await openFakePool();
    await fake.pool.activate(1, SPEC);
    await fake.pool.activate(1, { ...SPEC, network: { fabric: "mcast" } });
    const [alone, joined] = fake.qemu.vms.map(({ steps }) => steps);
    expect(alone).not.toContain("plug");
    expect(joined?.indexOf("plug")).toBeGreaterThan(joined?.indexOf("rx-filter") ?? 99);
  });

  it("joins VMs of one subnet on one multicast group, and those of another on another", async () => {
    await using fake = await openFakePool();
    const on = (subnet: string) => fake.pool.activate(1, { ...SPEC, network: { fabric: "mcast", subnet } });
    await on("10.1.0.0/24");
    await on("10.1.0.0/24");
    await on("10.2.0.0/24");
    const groups = fake.qemu.vms.map(({ networks }) => networks[0]?.mcast);
    expect(groups[0]).toMatch(/^239\.\d+\.\d+\.\d+:\d+$/);
    expect(groups[0]).toBe(groups[1]);
    expect(groups[2]).not.toBe(groups[0]);
  });

  it("can give the identity through the guest agent alone", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, { ...SPEC, channel: "agent" });
    expect((await vm?.exec(["hostname"]))?.stdout).toBe("fake-0\n");
    expect(fake.qemu.vms[0]?.steps).not.toContain("personalise");
  });

  it("counts all of the time under its phases", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    const sum = Object.values(vm?.timings.phasesMs ?? {}).reduce((total, ms) => total + ms, 0);
    expect(sum).toBeCloseTo(vm?.timings.totalMs ?? 0, 3);
  });
});

const BAD_COUNTS: readonly unknown[] = [0, -1, 1.5, 10_000, Number.NaN, Number.POSITIVE_INFINITY, "2", null, undefined];
const HOSTNAMES = {
  space: "a b",
  newline: "a\nb",
  "trailing newline": "a\n",
  "command substitution": "$(x)",
  backquotes: "`reboot`",
  "65 characters": "a".repeat(65),
  "64 characters": "a".repeat(64),
  "300 characters": "a".repeat(300),
  "too long with an index": `${"a".repeat(61)}{index}`,
  "upper case": "Node",
  "leading hyphen": "-a",
  "an SSH option": "-oProxyCommand=reboot",
  "trailing hyphen": "a-",
  umlaut: "köln",
  "full-width letter": "\uff41",
  emoji: "🦊",
  dot: "a.b",
  underscore: "a_b",
  comma: "a,b",
  equals: "a=b",
  slash: "a/b",
  NUL: "a\0b",
  empty: "",
  "another placeholder": "a-{name}",
};
const NETWORKS: Readonly<Record<string, [unknown, string]>> = {
  "unknown fabric": [{ fabric: "vxlan" }, "INVALID_ARGUMENT"],
  "subnet with host bits": [{ subnet: "10.1.0.1/24" }, "INVALID_ARGUMENT"],
  "subnet too small to have hosts": [{ subnet: "10.1.0.0/31" }, "INVALID_ARGUMENT"],
  "IPv6 subnet": [{ subnet: "fd00::/64" }, "INVALID_ARGUMENT"],
  "too many addresses": [{ addresses: ["10.77.0.1", "10.77.0.2", "10.77.0.3"] }, "INVALID_ARGUMENT"],
  "too few addresses": [{ addresses: ["10.77.0.1"] }, "INVALID_ARGUMENT"],
  "no addresses": [{ addresses: [] }, "INVALID_ARGUMENT"],
  "not an address": [{ addresses: ["10.77.0.1", "host"] }, "INVALID_ARGUMENT"],
  "octal address": [{ addresses: ["10.77.0.1", "10.77.0.010"] }, "INVALID_ARGUMENT"],
  "the same address twice": [{ addresses: ["10.77.0.9", "10.77.0.9"] }, "LEASE_CONFLICT"],
  "address outside": [{ addresses: ["10.77.0.1", "10.78.0.1"] }, "ADDRESS_OUTSIDE_SUBNET"],
  "network address": [{ subnet: "10.1.0.0/24", addresses: ["10.1.0.0", "10.1.0.1"] }, "ADDRESS_OUTSIDE_SUBNET"],
  "broadcast address": [{ subnet: "10.1.0.0/24", addresses: ["10.1.0.255", "10.1.0.1"] }, "ADDRESS_OUTSIDE_SUBNET"],
  "unknown key": [{ gateway: "10.77.0.1" }, "INVALID_ARGUMENT"],
};

describe("activate refuses, and touches nothing", () => {
  it("a count that is not a number of VMs", async () => {
    await using fake = await openFakePool();
    for (const count of BAD_COUNTS) {
      const activating = fake.pool.activate(count as number, SPEC);
      await expect(activating, String(count)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(fake.qemu.vms).toEqual([]);
  });

  it("what is no hostname", async () => {
    await using fake = await openFakePool();
    for (const [what, hostname] of Object.entries(HOSTNAMES)) {
      const activating = fake.pool.activate(1, { ...SPEC, hostname });
      await expect(activating, what).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(fake.qemu.vms).toEqual([]);
  });

  it("what is no network", async () => {
    await using fake = await openFakePool();
    for (const [what, [network, code]] of Object.entries(NETWORKS)) {
      const spec = { ...SPEC, network } as ActivateSpec;
      await expect(fake.pool.activate(2, spec), what).rejects.toMatchObject({ code });
    }
    expect(fake.qemu.vms).toEqual([]);
    expect(await fake.pool.activate(1, SPEC)).toMatchObject([{ hostname: "fake-0", address: "10.77.0.1" }]);
  });

  it.each([
    ["an unknown substrate", { substrate: "other" }, "SUBSTRATE_NOT_FOUND"],
    ["a substrate's name that is a path", { substrate: "../fake" }, "INVALID_ARGUMENT"],
    ["a missing substrate's name", {}, "INVALID_ARGUMENT"],
    ["an unknown key", { ...SPEC, hostnames: "a" }, "INVALID_ARGUMENT"],
    ["an unknown channel", { ...SPEC, channel: "ssh" }, "INVALID_ARGUMENT"],
    ["a timeout of nothing", { ...SPEC, timeoutMs: 0 }, "INVALID_ARGUMENT"],
    ["one name for two VMs", { ...SPEC, hostname: "solo" }, "LEASE_CONFLICT"],
    ["a subnet with too few hosts", { ...SPEC, network: { subnet: "10.1.0.0/30" } }, "LEASE_EXHAUSTED", 3],
    ["no specification", undefined, "INVALID_ARGUMENT"],
  ] as [string, unknown, string, number?][])("%s", async (_, spec, code, count = 2) => {
    await using fake = await openFakePool();
    await expect(fake.pool.activate(count, spec as ActivateSpec)).rejects.toMatchObject({ code });
    expect(fake.qemu.vms).toEqual([]);
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it.each([
    ["__proto__", '{"substrate":"fake","__proto__":{"hostname":"a"}}'],
    ["constructor", '{"substrate":"fake","constructor":1}'],
  ])("the key %s", async (_, text) => {
    await using fake = await openFakePool();
    await expect(fake.pool.activate(1, JSON.parse(text))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("an aborted signal", async () => {
    await using fake = await openFakePool();
    const activating = fake.pool.activate(1, SPEC, { signal: AbortSignal.abort() });
    await expect(activating).rejects.toMatchObject({ code: "ABORTED" });
    expect(fake.qemu.vms).toEqual([]);
  });

  it("every call once it is closed", async () => {
    await using fake = await openFakePool();
    await fake.pool.close();
    const closed = { code: "POOL_CLOSED" };
    await expect(fake.pool.activate(1, SPEC)).rejects.toMatchObject(closed);
    await expect(fake.pool.coldBoot(1, SPEC)).rejects.toMatchObject(closed);
    await expect(fake.pool.build({ recipe: "mini" })).rejects.toMatchObject(closed);
    await expect(fake.pool.substrates()).rejects.toMatchObject(closed);
  });

  it("an unknown key of the call's options", async () => {
    await using fake = await openFakePool();
    const options = { signl: AbortSignal.abort() } as CallOptions;
    await expect(fake.pool.activate(1, SPEC, options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("two calls", () => {
  it("never get the same identity", async () => {
    await using fake = await openFakePool();
    const vms = (await Promise.all([1, 2, 1].map((n) => fake.pool.activate(n, SPEC)))).flat();
    for (const field of ["hostname", "address", "mac"] as const) {
      expect(new Set(vms.map((vm) => vm[field])).size, field).toBe(4);
    }
  });

  it.each([
    ["hostname", { ...SPEC, hostname: "only" }],
    ["address", { ...SPEC, network: { addresses: ["10.77.0.7"] } }],
  ])("that ask for one %s: exactly one gets it", async (_, spec) => {
    await using fake = await openFakePool();
    const results = await Promise.allSettled(Array.from({ length: 4 }, () => fake.pool.activate(1, spec)));
    const refused = results.filter((result) => result.status === "rejected").map((result) => result.reason);
    expect(refused).toHaveLength(3);
    for (const reason of refused) expect(reason).toMatchObject({ code: "LEASE_CONFLICT" });
    expect(fake.pool.vms).toHaveLength(1);
    expect(fake.qemu.vms).toHaveLength(1);
  });

  it("load one substrate once, and the end of the first does not fail the second", async () => {
    await using fake = await openFakePool();
    await addFakeSubstrate(fake.host.paths, { name: "large", memoryMiB: 64 }); // takes long enough to be aborted
    const controller = new AbortController();
    const first = fake.pool.activate(1, { substrate: "large" }, { signal: controller.signal });
    const second = fake.pool.activate(1, { substrate: "large" });
    await appears(fake.host.paths.sharedMemoryDir, "large-1.ram");
    controller.abort();
    await expect(first).rejects.toMatchObject({ code: "ABORTED" });
    expect(await second).toHaveLength(1);
  });
});

describe("Pool.open and build refuse", () => {
  it.each([
    ["an unknown option", { stateDirectory: "/x" }],
    ["an empty path", { stateDir: "" }],
    ["a path with NUL", { runtimeDir: "/tmp/a\0b" }],
    ["an unknown accelerator", { accelerator: "hvf" }],
    ["no parallel starts", { parallelStarts: 0 }],
    ["parallel starts that are no number", { parallelStarts: "2" }],
  ])("%s", async (_, options) => {
    await expect(Pool.open(options as PoolOptions)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it.each([
    ["an unknown recipe", { recipe: "windows" }, "RECIPE_UNKNOWN"],
    ["a recipe's name from the prototype", { recipe: "constructor" }, "RECIPE_UNKNOWN"],
    ["a name that is a path", { recipe: "mini", name: "../x" }, "INVALID_ARGUMENT"],
    ["an unknown key", { recipe: "mini", version: 3 }, "INVALID_ARGUMENT"],
  ])("%s of a build", async (_, options, code) => {
    await using fake = await openFakePool();
    await expect(fake.pool.build(options)).rejects.toMatchObject({ code });
  });
});
