import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { Pool, type Vm } from "../../lib/index.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

const VMS_OF_EACH_POOL = 50;
/** So many guests are looked into at a time: under emulation each answer costs milliseconds of a processor. */
const AT_A_TIME = 4;

/** Every part of an identity as the guest has it; none may be that of another VM. */
const FILES = {
  hostname: "/proc/sys/kernel/hostname",
  hostnameFile: "/etc/hostname",
  hosts: "/etc/hosts",
  machineId: "/etc/machine-id",
  dbusId: "/var/lib/dbus/machine-id",
  hostKey: "/etc/dropbear/dropbear_ed25519_host_key",
  randomSeed: "/var/lib/random-seed",
  mac: "/sys/class/net/eth0/address",
  addresses6: "/proc/net/if_inet6",
} as const;

async function insideOf(vm: Vm): Promise<Record<string, string>> {
  const seen: Record<string, string> = { address: vm.address, id: vm.id };
  for (const [part, path] of Object.entries(FILES)) {
    seen[part] = Buffer.from(await vm.readFile(path)).toString("hex");
  }
  const { stdoutBytes } = await vm.exec(["head", "-c", "16", "/dev/urandom"]);
  seen.random = Buffer.from(stdoutBytes).toString("hex");
  return seen;
}

test(`${2 * VMS_OF_EACH_POOL} VMs of two pools share no part of an identity`, { timeout: 300_000 }, async () => {
  const dir = await mkdtemp(join(inject("labDir"), "second-"));
  const second = { stateDir: join(dir, "state"), cacheDir: labDirectories().cacheDir };
  {
    await using lab = await openLab();
    await using other = await Pool.open(second);
    await other.build({ recipe: "mini" });
    const network = (net: number) => ({
      fabric: "mcast" as const,
      subnet: `10.${net}.0.0/24`,
      subnet6: `fd00:${net}::/64`,
    });
    const vms = [
      ...(await lab.pool.activate(VMS_OF_EACH_POOL, {
        substrate: "mini",
        hostname: "a-{index}",
        network: network(70),
      })),
      ...(await other.activate(VMS_OF_EACH_POOL, { substrate: "mini", hostname: "b-{index}", network: network(71) })),
    ];
    const all: Record<string, string>[] = [];
    const queue = [...vms];
    const worker = async () => {
      for (let vm = queue.shift(); vm !== undefined; vm = queue.shift()) all.push(await insideOf(vm));
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
    expect(all).toHaveLength(2 * VMS_OF_EACH_POOL);
    for (const part of Object.keys(all[0] ?? {})) {
      const values = all.map((seen) => seen[part]);
      expect(values, part).not.toContain("");
      expect(new Set(values).size, part).toBe(values.length);
    }
  }
  await expectNothingLeft(second);
  await rm(dir, { recursive: true });
});
