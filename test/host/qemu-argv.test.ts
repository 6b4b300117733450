import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { qemuArgv, type VmConfig } from "../../lib/host/index.ts";
import { deviceArguments } from "../../lib/substrate/machine.ts";

const SUBSTRATE: VmConfig = {
  id: "abc",
  uuid: "6c1f1f39-0c64-4b4c-8a2d-f3a5a3b2f001",
  machine: "pc-i440fx-7.2",
  accelerator: "tcg",
  cpuModel: "qemu64,+ssse3",
  cpus: 2,
  memory: { file: "/shm/build.ram", sizeMiB: 96, share: true },
  disk: { file: "/state/disk.qcow2" },
  kernel: { image: "/cache/vmlinuz", initrd: "/cache/initrd", commandLine: "console=ttyS0 quiet" },
  sockets: { qmp: "/run/abc/qmp", agent: "/run/abc/agent", helper: "/run/abc/helper" },
};

const { kernel: _, ...WITHOUT_KERNEL } = SUBSTRATE;
const CLONE: VmConfig = {
  ...WITHOUT_KERNEL,
  id: "def",
  uuid: "6c1f1f39-0c64-4b4c-8a2d-f3a5a3b2f002",
  memory: { ...SUBSTRATE.memory, file: "/shm/mini-1.ram", share: false },
  disk: { file: "/state/vms/def/overlay.qcow2", backingFile: "/state/disk.qcow2" },
  sockets: { qmp: "/run/def/qmp", agent: "/run/def/agent", helper: "/run/def/helper" },
  incoming: true,
};

/** The values of an option, in order. */
function all(config: VmConfig, option: string): string[] {
  const argv = qemuArgv(config);
  return argv.filter((_value, i) => argv[i - 1] === option);
}

function json(config: VmConfig, option: string): Record<string, unknown>[] {
  return all(config, option).map((text) => JSON.parse(text));
}

describe("a guest that boots from its disk", () => {
  const flash = { code: { file: "/code.fd" }, vars: { file: "/vars.fd" } };

  it("has flash chips in its machine, and no other devices than a guest without", () => {
    const firmware: VmConfig = { ...WITHOUT_KERNEL, firmware: flash };
    expect(all(firmware, "-machine")[0]).toMatch(/pflash0=firmware0,pflash1=firmware1/);
    expect(deviceArguments(firmware)).toEqual(deviceArguments(WITHOUT_KERNEL));
    expect(all(firmware, "-kernel")).toEqual([]);
    expect(all(WITHOUT_KERNEL, "-machine")[0]).not.toContain("pflash");
  });

  it("has a seed only as a read-only disk of its own", () => {
    const seeded: VmConfig = { ...WITHOUT_KERNEL, seed: "/work/seed, one.iso" };
    const file = { driver: "file", filename: "/work/seed, one.iso", "read-only": true };
    const disk = { driver: "raw", "node-name": "seed0", "read-only": true, file };
    expect(json(seeded, "-blockdev")).toContainEqual(disk);
    expect(json(seeded, "-device")).toContainEqual({
      driver: "virtio-blk-pci",
      id: "blk1",
      drive: "seed0",
      addr: "0x6",
    });
  });
});

describe("a generation id", () => {
  it("is there for guests that know what it means, and differs between a substrate and its clones", () => {
    expect(json(CLONE, "-device").map(({ driver }) => driver)).not.toContain("vmgenid");
    const clone = { ...CLONE, generationId: CLONE.uuid };
    expect(json(clone, "-device")).toContainEqual({ driver: "vmgenid", guid: CLONE.uuid });
    expect(deviceArguments(clone)).toEqual(deviceArguments({ ...SUBSTRATE, generationId: SUBSTRATE.uuid }));
  });
});

describe("a VM that may grow", () => {
  it("has room for processors and memory, and starts with what it had; others have none", () => {
    const growing = { ...CLONE, growth: { maxCpus: 8, maxMemoryMiB: 2144 } };
    expect(all(growing, "-smp")).toEqual(["cpus=2,maxcpus=8,sockets=1,cores=8,threads=1"]);
    expect(all(growing, "-m")).toEqual(["size=96M,slots=4,maxmem=2144M"]);
    expect(all({ ...CLONE, growth: { maxCpus: 2, maxMemoryMiB: 96 } }, "-m")).toEqual(["size=96M"]);
    expect(all(CLONE, "-smp")).toEqual(["cpus=2"]);
    expect(all(CLONE, "-m")).toEqual(["size=96M"]);
  });

  it("under TCG has code for so many processors that none is left without", () => {
    const cacheOf = (maxCpus: number) =>
      all({ ...CLONE, growth: { maxCpus, maxMemoryMiB: 2144 } }, "-accel").map(
        (text) => /tb-size=(\d+)/.exec(text)?.[1],
      );
    expect([cacheOf(2), cacheOf(8), cacheOf(32)]).toEqual([["32"], ["32"], ["128"]]);
  });
});

describe("every VM", () => {
  it.each([SUBSTRATE, CLONE])("$id runs in a sandbox, without anything it did not ask for", (config) => {
    const [sandbox] = all(config, "-sandbox");
    const denied = ["obsolete", "elevateprivileges", "spawn", "resourcecontrol"].map((name) => `${name}=deny`);
    expect(sandbox?.split(",").toSorted()).toEqual(["on", ...denied].toSorted());
    for (const flag of ["-nodefaults", "-no-user-config", "-no-reboot"]) expect(qemuArgv(config)).toContain(flag);
    expect(all(config, "-display")).toEqual(["none"]);
    expect(qemuArgv(config)).not.toContain("-daemonize");
  });

  it("is of a versioned machine, with its RAM in the named file", () => {
    const [machine = ""] = all(CLONE, "-machine");
    expect(machine).toMatch(/^pc-i440fx-\d+\.\d+,/);
    expect(machine).toContain("memory-backend=ram0");
    expect(machine).toContain("dump-guest-core=off");
    const ram = { "qom-type": "memory-backend-file", id: "ram0", size: 96 * 2 ** 20, "mem-path": "/shm/mini-1.ram" };
    expect(json(CLONE, "-object")).toEqual([{ ...ram, share: false }]);
    expect(all(CLONE, "-m")).toEqual(["size=96M"]);
  });

  it("names every format of its disks, and opens the backing file read-only", () => {
    const [disk] = json(CLONE, "-blockdev");
    expect(disk).toMatchObject({ driver: "qcow2", file: { driver: "file", filename: CLONE.disk.file } });
    expect(disk?.backing).toEqual({
      driver: "qcow2",
      "read-only": true,
      file: { driver: "file", filename: "/state/disk.qcow2", "read-only": true },
    });
  });

  it("has its console in memory, of bounded size", () => {
    expect(all(SUBSTRATE, "-chardev")[0]).toBe("ringbuf,id=console0,size=65536");
    expect(all(SUBSTRATE, "-serial")).toEqual(["chardev:console0"]);
  });

  it("listens on its three sockets without waiting", () => {
    const sockets = all(CLONE, "-chardev").filter((text) => text.startsWith("socket,"));
    expect(sockets).toEqual(
      ["qmp", "agent", "helper"].map((name) => `socket,id=${name}0,path=/run/def/${name},server=on,wait=off`),
    );
  });

  it("uses one block of options for each accelerator", () => {
    expect(all(SUBSTRATE, "-accel")[0]).toMatch(/^tcg,thread=multi,tb-size=\d+$/);
    expect(all({ ...SUBSTRATE, accelerator: "kvm" }, "-accel")).toEqual(["kvm"]);
  });

  it("has its NIC on a hub of its own, and never on the user-mode stack", () => {
    for (const config of [SUBSTRATE, CLONE]) {
      expect(json(config, "-netdev")).toEqual([
        { type: "hubport", id: "netdev0", hubid: 0 },
        // Leads nowhere: what the guest sends before it is plugged in is dropped, rather than held back for ever.
        { type: "hubport", id: "sink0", hubid: 0 },
      ]);
    }
  });
});

describe("a clone", () => {
  it("presents the devices of its substrate", () => {
    expect(deviceArguments(CLONE)).toEqual(deviceArguments(SUBSTRATE));
    expect(json(CLONE, "-device").map(({ driver }) => driver)).toEqual([
      "virtio-serial-pci",
      "virtserialport",
      "virtserialport",
      "virtio-blk-pci",
      "virtio-net-pci",
    ]);
  });

  it("differs from its substrate in nothing but names, files, sockets and start", () => {
    const allowed = new Set(["-name", "-uuid", "-object", "-chardev", "-blockdev"]);
    const kernelOptions = new Set(["-kernel", "-initrd", "-append"]);
    const pairs = (config: VmConfig) => {
      const argv = qemuArgv(config);
      return argv
        .map((text, i) => [argv[i - 1] ?? "", text] as const)
        .filter(([option, text]) => !allowed.has(option) && !kernelOptions.has(option) && !kernelOptions.has(text))
        .map(([option, text]) => `${option.startsWith("-") ? option : ""} ${text}`.trim())
        .filter((text) => !["-S", "-incoming", "-incoming defer", "-S -incoming"].includes(text));
    };
    expect(pairs(CLONE)).toEqual(pairs(SUBSTRATE));
  });

  it("waits, paused, for its state", () => {
    expect(qemuArgv(CLONE).slice(-3)).toEqual(["-S", "-incoming", "defer"]);
    expect(qemuArgv(CLONE)).not.toContain("-kernel");
    expect(qemuArgv(SUBSTRATE)).not.toContain("-incoming");
  });
});

describe("a path", () => {
  const hostile = fc.string({ unit: fc.constantFrom(",", "=", '"', "\\", "'", " ", "\n", "a", "server", "{", "}") });

  it("stays inside of its value, whatever it holds", () => {
    fc.assert(
      fc.property(hostile, (name) => {
        const path = `/d/${name}`;
        const config: VmConfig = {
          ...CLONE,
          memory: { ...CLONE.memory, file: path },
          disk: { file: path, backingFile: path },
          sockets: { qmp: path, agent: path, helper: path },
        };
        expect(qemuArgv(config)).toHaveLength(qemuArgv(CLONE).length);
        expect(json(config, "-object")[0]?.["mem-path"]).toBe(path);
        expect(json(config, "-blockdev")[0]).toMatchObject({
          file: { filename: path },
          backing: { file: { filename: path } },
        });
        const [, qmp] = all(config, "-chardev");
        expect(qmp).toBe(`socket,id=qmp0,path=${path.replaceAll(",", ",,")},server=on,wait=off`);
      }),
    );
  });
});
