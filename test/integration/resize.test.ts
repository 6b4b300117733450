import { describe, expect, it } from "vitest";
import type { ActivateSpec, Pool, Vm } from "../../lib/index.ts";
import { expectRightClock, output, seenInside } from "../support/inside.ts";
import { openLab } from "../support/lab.ts";

const SPEC: ActivateSpec = { substrate: "mini", hostname: "large-{index}" };
const RESOURCES = { cpus: 4, memoryMiB: 192, diskMiB: 1024 };
const MIB = 2 ** 20;
/** Memory beyond what was frozen comes in blocks of 128 MiB. */
const GIVEN = { ...RESOURCES, memoryMiB: 96 + 128 };

async function claim(pool: Pool, spec: ActivateSpec): Promise<Vm> {
  const [vm] = await pool.activate(1, spec);
  if (vm === undefined) throw new Error("no VM");
  return vm;
}

/** By programs of the guest's own, not by the helper that has said so already. */
async function expectUsable(vm: Vm): Promise<void> {
  expect(vm.resources).toEqual(GIVEN);
  expect(await output(vm, "nproc")).toBe("4");
  const totalKib = Number(/MemTotal:\s+(\d+)/.exec(await output(vm, "cat", "/proc/meminfo"))?.[1]);
  expect(totalKib).toBeGreaterThan(170 * 1024);
  // More than the substrate had altogether, every page of it written and read.
  const fill =
    "dd if=/dev/zero of=/run/memory/x bs=1M count=120 2>/dev/null && dd if=/run/memory/x of=/dev/null bs=1M 2>/dev/null && stat -c %s /run/memory/x";
  const mount = "mkdir /run/memory && mount -t tmpfs -o size=140m t /run/memory";
  expect(await output(vm, "sh", "-c", `${mount} && ${fill}`)).toBe(String(120 * 1024 * 1024));
  // More than the disk had.
  await output(vm, "sh", "-c", "dd if=/dev/zero of=/root/large bs=1M count=300 2>/dev/null && sync && rm /root/large");
  const sizeKib = Number(/\/dev\/vda\s+(\d+)/.exec(await output(vm, "df", "-k", "/"))?.[1]);
  expect(sizeKib).toBeGreaterThan(0.9 * 1024 * 1024);
  // All processors at once.
  const busy = "for i in 1 2 3 4; do (n=0; while [ $n -lt 2000 ]; do n=$((n+1)); done) & done; wait; echo done";
  expect(await output(vm, "sh", "-c", busy)).toBe("done");
}

describe.each<[string, number, ActivateSpec]>([
  ["docked", 1, SPEC],
  ["cloned", 0, SPEC],
  ["agent-only", 0, { ...SPEC, channel: "agent" }],
])("a %s VM with more of everything than its substrate", (_, docked, spec) => {
  it("can use all of it, and is who it should be", async () => {
    await using lab = await openLab();
    await lab.pool.dock("mini", { min: docked, hostname: "large-{index}" });
    await lab.pool.docked("mini", { count: docked });
    const vm = await claim(lab.pool, { ...spec, resources: RESOURCES });
    expect(vm.origin).toBe(docked > 0 ? "docked" : "cloned");
    await expectUsable(vm);
    const { hostname, address, mac, machineId } = vm;
    expect(await seenInside(vm)).toMatchObject({ hostname, address, mac, machineId });
    await expectRightClock(vm);
    await vm.park();
    await vm.resume();
    expect(await output(vm, "nproc")).toBe("4");
  });
});

describe("a VM that was grown", () => {
  it("can be as large as its substrate was built to reach", async () => {
    await using lab = await openLab();
    const resources = { cpus: 8, memoryMiB: 4192, diskMiB: 65_536 };
    const vm = await claim(lab.pool, { ...SPEC, resources });
    expect(vm.resources).toEqual(resources);
    expect(await output(vm, "nproc")).toBe("8");
    await expect(lab.pool.activate(1, { ...SPEC, resources: { cpus: 9 } })).rejects.toMatchObject({
      code: "RESOURCES_OUT_OF_REACH",
      details: { maximum: 8 },
    });
  });

  it("gives back what its programs do not need, keeps what they do, and can then be forked", async () => {
    await using lab = await openLab();
    const vm = await claim(lab.pool, { ...SPEC, resources: { memoryMiB: 96 + 384 } });
    const totalMiB = async () => Number(/MemTotal:\s+(\d+)/.exec(await output(vm, "cat", "/proc/meminfo"))?.[1]) / 1024;
    const fill = (name: string, sizeMiB: number) =>
      output(
        vm,
        "sh",
        "-c",
        `head -c ${sizeMiB * MIB} /dev/urandom > /run/memory/${name}; md5sum < /run/memory/${name}`,
      );
    await output(vm, "sh", "-c", "mkdir /run/memory && mount -t tmpfs -o size=400m t /run/memory");
    const kept = await fill("kept", 20);
    await fill("large", 200);
    expect(await totalMiB()).toBeGreaterThan(430);
    const used = (await vm.memory()).privateBytes;
    await expect(vm.shrink({ memoryMiB: 96 })).rejects.toMatchObject({
      code: "MEMORY_IN_USE",
      message: expect.stringContaining("would not fit into the rest"),
    });
    await output(vm, "rm", "/run/memory/large");
    // Given up while the guest works on it, and then again from wherever that was.
    await expect(vm.shrink({ memoryMiB: 96, timeoutMs: 25 })).rejects.toMatchObject({ code: "TIMEOUT" });
    const { memoryMiB } = await vm.shrink({ memoryMiB: 96 });
    expect(memoryMiB).toBe(96 + 128); // a part is for what the kernel itself has
    expect(await totalMiB()).toBeLessThan(200);
    expect(await output(vm, "md5sum", "/run/memory/kept")).toContain(kept.split(" ")[0]);
    await expect.poll(async () => used - (await vm.memory()).privateBytes).toBeGreaterThan(100 * MIB);

    const other = await claim(lab.pool, { ...SPEC, resources: { memoryMiB: 96 + 128 } });
    await expect(other.fork(1)).rejects.toMatchObject({ code: "FORK_REFUSED" });
    expect(await other.shrink({ memoryMiB: 96 })).toMatchObject({ memoryMiB: 96 });
    const [fork] = await other.fork(1);
    expect(fork === undefined ? "" : await output(fork, "hostname")).toBe(fork?.hostname);
    expect(await output(other, "hostname")).toBe(other.hostname);
  });

  it("is taken over as large as it was", async () => {
    const options = { heartbeatMs: 0 };
    let id: string;
    {
      const lab = await openLab(options);
      id = (await claim(lab.pool, { ...SPEC, resources: { cpus: 2, memoryMiB: 224 } })).id;
      await lab.pool.close({ vms: "keep" });
    }
    await using lab = await openLab(options);
    const [vm] = lab.pool.vms;
    expect(vm).toMatchObject({ id, resources: { cpus: 2, memoryMiB: 224, diskMiB: 256 } });
    if (vm !== undefined) expect(await output(vm, "nproc")).toBe("2");
  });
});
