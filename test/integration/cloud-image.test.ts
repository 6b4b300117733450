import { execFile } from "node:child_process";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Vm } from "../../lib/index.ts";
import { cloudImage } from "../support/cloud-image.ts";
import { output } from "../support/inside.ts";
import { openLab } from "../support/lab.ts";
import { activateOne } from "../support/vms.ts";

const run = promisify(execFile);
const MIB = 2 ** 20;
const SETUP_TIMEOUT_MS = 900_000;
const TIMEOUT_MS = 240_000;
/** As its distribution leaves it: names of NICs are predictable, and nothing of ours is in it. */
const RECIPE = `
from: disk
image: disk.raw
format: raw
firmware: uefi
cloudInit: true
interface: ens5
bootTimeoutMs: 600000
growth: { maxCpus: 4, maxMemoryMiB: 2560, disk: { maxDiskMiB: 8192, partition: 1 } }
identity: { dhclientLeases: /var/lib/dhcp/dhclient.leases }
`;
const SPEC = { substrate: "cloud" };
const GROWN = { cpus: 4, memoryMiB: 2048 + 512, diskMiB: 4096 };

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "vm-cloud-"));
  await cloudImage(dir);
  await writeFile(join(dir, "cloud.yaml"), RECIPE);
  await using lab = await openOwn();
  await lab.pool.build({ recipeFile: join(dir, "cloud.yaml") });
}, SETUP_TIMEOUT_MS);
afterAll(() => rm(dir, { recursive: true, force: true }));

const openOwn = () => openLab({ stateDir: join(dir, "state") });
const sh = (vm: Vm, command: string) => output(vm, "sh", "-c", command);

async function expectPersonal(vm: Vm): Promise<void> {
  expect(await sh(vm, "hostname; cat /etc/hostname")).toBe(`${vm.hostname}\n${vm.hostname}`);
  expect(await sh(vm, "ip -o -4 addr show ens5")).toContain(`inet ${vm.address}/`);
  expect(await sh(vm, "cat /sys/class/net/ens5/address /etc/machine-id")).toBe(`${vm.mac}\n${vm.machineId}`);
}

describe("a distribution's own image", () => {
  test(
    "has had its seed by its own cloud-init, of which no clone knows anything",
    async () => {
      await using lab = await openOwn();
      const vms = await lab.pool.activate(2, SPEC);
      const keys = new Set<string>();
      for (const vm of vms) {
        await expectPersonal(vm);
        // What the seed asked for was done: by cloud-init, on the boot before.
        expect(await sh(vm, "cat /etc/ssh/sshd_config.d/*")).toContain("PasswordAuthentication no");
        expect(await sh(vm, "cloud-init status")).toContain("disabled");
        expect(
          await sh(
            vm,
            "ls /var/lib/cloud/instances /var/lib/cloud/seed 2> /dev/null; cat /var/log/cloud-init*.log 2> /dev/null; :",
          ),
        ).toBe("");
        expect(await sh(vm, "ls /etc/ssh/ssh_host_*_key")).toBe("/etc/ssh/ssh_host_ed25519_key");
        keys.add(await sh(vm, "cat /etc/ssh/ssh_host_ed25519_key.pub"));
        expect(await sh(vm, "systemctl is-system-running")).toMatch(/running|degraded/);
      }
      expect(keys.size).toBe(2);
    },
    TIMEOUT_MS,
  );

  test(
    "grows: processors, memory to five times as much, and the partition behind which there is none",
    async () => {
      await using lab = await openOwn();
      const vm = await activateOne(lab.pool, { ...SPEC, resources: GROWN });
      await expectPersonal(vm);
      expect(vm.resources).toEqual(GROWN);
      expect(await sh(vm, "nproc")).toBe("4");
      // More than it was frozen with, every page written, by a program of its own.
      const touched = 1600;
      const touch = `mount -t tmpfs -o size=${touched + 100}m t /mnt && head -c ${touched}M /dev/zero > /mnt/x && wc -c < /mnt/x`;
      expect(await sh(vm, touch)).toBe(String(touched * MIB));
      await sh(vm, "umount /mnt");
      expect(Number(await sh(vm, "df -m --output=size / | tail -n 1"))).toBeGreaterThan(0.9 * GROWN.diskMiB);
      await sh(vm, "sync; echo 3 > /proc/sys/vm/drop_caches");
      // The first and the last sectors, as a tool of the host reads them: both copies of the table are whole, and agree.
      const image = join(dir, "grown.raw");
      const ends = "(head -c 1M /dev/vda; tail -c 1M /dev/vda) | gzip -1 > /run/ends.gz; base64 -w 0 /run/ends.gz";
      const both = gunzipSync(Buffer.from(await sh(vm, ends), "base64"));
      {
        await using handle = await open(image, "wx");
        await handle.write(both, 0, MIB, 0);
        await handle.write(both, MIB, MIB, GROWN.diskMiB * MIB - MIB);
      }
      const { stdout } = await run("/usr/sbin/sfdisk", ["--verify", image]);
      expect(stdout).toContain("No errors detected");
    },
    TIMEOUT_MS,
  );

  test(
    "is forked, firmware and all, and has a DUID of its own",
    async () => {
      await using lab = await openOwn();
      const vm = await activateOne(lab.pool, SPEC);
      await sh(vm, "echo before > /root/marker; sync");
      const [fork] = await vm.fork(1);
      if (fork === undefined) throw new Error("no fork");
      await expectPersonal(fork);
      expect(await sh(fork, "cat /root/marker; cat /sys/firmware/efi/fw_platform_size")).toBe("before\n64");
      const duids = await Promise.all([vm, fork].map((one) => sh(one, "cat /var/lib/dhcp/dhclient.leases")));
      expect(duids[0]).toContain("default-duid");
      expect(new Set(duids).size).toBe(2);
    },
    TIMEOUT_MS,
  );
});
