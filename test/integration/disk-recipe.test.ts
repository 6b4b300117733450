import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Paths } from "../../lib/host/index.ts";
import type { Vm } from "../../lib/index.ts";
import { asQcow2, bootableImage } from "../support/boot-images.ts";
import { output } from "../support/inside.ts";
import { labDirectories, openLab } from "../support/lab.ts";

const BUILD_TIMEOUT_MS = 240_000;

/** The guest of `mini` has no systemd, and keeps the files of its identity elsewhere than the defaults say. */
const GUEST = `
memoryMiB: 256
bootTimeoutMs: 90000
ready: [{ probe: port, port: 22 }]
identity:
  sshHostKey: { path: /etc/dropbear/dropbear_ed25519_host_key, format: dropbear }
  dbusMachineId: /var/lib/dbus/machine-id
  randomSeed: /var/lib/random-seed
`;

/** Stands in for cloud-init: leaves on the disk what it saw of its seed. */
const CLOUD_INIT = `#!/bin/sh
[ "$*" = "status --wait" ] || exit 0
mkdir -p /etc/cloud /home/seen
dd if=/dev/vdb bs=1 skip=32808 count=6 2>/dev/null > /home/seen/label
cat /sys/block/vdb/ro > /home/seen/read-only
`;

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "vm-disk-"));
  await bootableImage(dir);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function recipe(name: string, text: string): Promise<string> {
  const file = join(dir, `${name}.yaml`);
  await writeFile(file, `from: disk\n${text}${GUEST}`);
  return file;
}

async function fingerprint(file: string) {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  const { mtimeMs, size } = await stat(file);
  return { sha256: hash.digest("hex"), mtimeMs, size };
}

async function expectPersonal(vm: Vm): Promise<void> {
  expect(await output(vm, "hostname")).toBe(vm.hostname);
  expect(await output(vm, "cat", "/etc/hostname")).toBe(vm.hostname);
  expect(await output(vm, "ip", "-o", "-4", "addr", "show", "eth0")).toContain(`inet ${vm.address}/`);
  expect(await output(vm, "grep", "/dev/vda2", "/proc/mounts")).toContain("ext4");
  expect(await output(vm, "ls", "/sys/block")).not.toContain("vdb");
}

/** By programs of the guest's own; the table as it is on the disk, and all of the file system written to. */
async function expectGrown(vm: Vm, resources: Vm["resources"]): Promise<void> {
  await expectPersonal(vm);
  expect(vm.resources).toEqual(resources);
  expect(await output(vm, "nproc")).toBe(String(resources.cpus));
  expect(await output(vm, "grep", "-c", "^processor", "/proc/cpuinfo")).toBe(String(resources.cpus));
  const sectors = Number(await output(vm, "cat", "/sys/class/block/vda2/size"));
  const start = Number(await output(vm, "cat", "/sys/class/block/vda2/start"));
  expect((start + sectors) * 512).toBe(resources.diskMiB * 2 ** 20);
  expect(await output(vm, "sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches; fdisk -l /dev/vda")).toMatch(
    new RegExp(`vda2 +[\\d,]+ +[\\d,]+ +${start} +${start + sectors - 1} +${sectors} `),
  );
  const free = Number(/(\d+) +\d+% +\/$/m.exec(await output(vm, "df", "-m", "/"))?.[1]);
  expect(free).toBeGreaterThan(0.8 * resources.diskMiB);
  await output(vm, "sh", "-c", `dd if=/dev/zero of=/root/large bs=1M count=${free - 200} 2>/dev/null && sync`);
}

describe("a disk of the user's own", () => {
  test(
    "under BIOS: built, cloned, docked and cold-booted; the image stays as it was",
    async () => {
      const before = await fingerprint(join(dir, "disk.raw"));
      const growth = "growth: { maxCpus: 2, maxMemoryMiB: 512, disk: { maxDiskMiB: 4096, partition: 2 } }\n";
      const recipeFile = await recipe("legacy", `image: disk.raw\nformat: raw\nfirmware: bios\n${growth}`);
      await using lab = await openLab();
      expect(await lab.pool.build({ recipeFile })).toMatchObject({ name: "legacy", version: 1, reused: false });
      expect(await lab.pool.build({ recipeFile })).toMatchObject({ version: 1, reused: true });
      const vms = await lab.pool.activate(2, { substrate: "legacy" });
      for (const vm of vms) await expectPersonal(vm);
      const [vm] = vms;
      expect((await vm?.exec(["ls", "/sys/firmware/efi"]))?.exitCode).not.toBe(0);
      await lab.pool.dock("legacy", { min: 1 });
      await lab.pool.docked("legacy", { count: 1, timeoutMs: 60_000 });
      const [docked] = await lab.pool.activate(1, { substrate: "legacy" });
      expect(docked?.origin).toBe("docked");
      if (docked !== undefined) await expectPersonal(docked);
      await lab.pool.dock("legacy", { min: 0 });
      const resources = { cpus: 2, memoryMiB: 384, diskMiB: 2048 };
      const [large] = await lab.pool.activate(1, { substrate: "legacy", resources });
      if (large !== undefined) await expectGrown(large, resources);
      const [booted] = await lab.pool.coldBoot(1, { substrate: "legacy" });
      if (booted !== undefined) await expectPersonal(booted);
      expect(await fingerprint(join(dir, "disk.raw"))).toEqual(before);
    },
    BUILD_TIMEOUT_MS,
  );

  test(
    "is refused when it says that it grows and does not",
    async () => {
      const growth = "growth: { disk: { maxDiskMiB: 4096, partition: 1 } }\n";
      const recipeFile = await recipe("fixed", `image: disk.raw\nformat: raw\nfirmware: bios\n${growth}`);
      await using lab = await openLab();
      await expect(lab.pool.build({ recipeFile })).rejects.toMatchObject({
        code: "BUILD_FAILED",
        message: expect.stringMatching(/growth\.disk .*vda1.*ENOSPC/),
      });
    },
    BUILD_TIMEOUT_MS,
  );

  test(
    "under UEFI, from a qcow2: the firmware's flash is part of the substrate, and of what clones load",
    async () => {
      const image = await asQcow2(join(dir, "disk.raw"), join(dir, "modern.qcow2"));
      const before = await fingerprint(image);
      const recipeFile = await recipe("modern", "image: modern.qcow2\nformat: qcow2\nfirmware: uefi\n");
      await using lab = await openLab();
      await lab.pool.build({ recipeFile });
      const files = await readdir(new Paths(labDirectories()).substrate("modern", 1).dir);
      expect(files).toEqual(expect.arrayContaining(["firmware-code.fd", "firmware-vars.fd"]));
      expect(files).not.toContain("vmlinuz");
      const vms = await lab.pool.activate(2, { substrate: "modern" });
      for (const vm of vms) {
        await expectPersonal(vm);
        expect(await output(vm, "cat", "/sys/firmware/efi/fw_platform_size")).toBe("64");
      }
      const [booted] = await lab.pool.coldBoot(1, { substrate: "modern" });
      if (booted !== undefined) {
        await expectPersonal(booted);
        expect(await output(booted, "cat", "/sys/firmware/efi/fw_platform_size")).toBe("64");
      }
      expect(await fingerprint(image)).toEqual(before);
    },
    BUILD_TIMEOUT_MS,
  );

  test(
    "with cloud-init: it has its seed on one boot of its own, which the clones know nothing of",
    async () => {
      const own = join(dir, "seeded");
      await bootableImage(own, [{ path: "/usr/bin/cloud-init", content: CLOUD_INIT, mode: 0o755 }]);
      const recipeFile = await recipe(
        "seeded",
        "image: seeded/disk.raw\nformat: raw\nfirmware: bios\ncloudInit: true\n",
      );
      await using lab = await openLab();
      await lab.pool.build({ recipeFile });
      const [vm] = await lab.pool.activate(1, { substrate: "seeded" });
      if (vm === undefined) throw new Error("no VM");
      await expectPersonal(vm);
      expect(await output(vm, "cat", "/home/seen/label")).toBe("CIDATA");
      expect(await output(vm, "cat", "/home/seen/read-only")).toBe("1");
    },
    BUILD_TIMEOUT_MS,
  );

  test("without a guest agent: says what is missing, with the end of the console", async () => {
    const recipeFile = await recipe("silent", "image: disk.raw\nformat: raw\nfirmware: bios\n");
    await writeFile(
      recipeFile,
      (await readFile(recipeFile, "utf8")).replace("bootTimeoutMs: 90000", "bootTimeoutMs: 1000"),
    );
    await using lab = await openLab();
    await expect(lab.pool.build({ recipeFile })).rejects.toMatchObject({
      code: "BUILD_FAILED",
      message: expect.stringMatching(/qemu-guest-agent must be installed and enabled.*console ends with/),
    });
  });
});
