import { createHash } from "node:crypto";
import { copyFile, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type RecipePaths, runTool } from "../../host/index.ts";
import type { GuestProfile, Recipe, RecipeContext } from "../recipe.ts";
import { DebianPackages } from "./debian-packages.ts";
import { INITRAMFS_FILE, INITRAMFS_MODULES, makeInitramfs } from "./guest-initramfs.ts";
import { GuestRoot, LOADER, sharedLibraries } from "./guest-root.ts";
import { compileHelper, guestFile, HELPER_FILES } from "./helper-binary.ts";
import { ext4Image } from "./images.ts";

const KERNEL_METAPACKAGE = "linux-image-cloud-amd64";
const PACKAGES = ["busybox-static", "dropbear-bin", "qemu-guest-agent"];
const PROGRAMS = ["usr/sbin/qemu-ga", "usr/sbin/dropbear", "usr/bin/dropbearkey", "usr/bin/dbclient"];
const GUEST_FILES = [...HELPER_FILES, INITRAMFS_FILE, "mini/inittab", "mini/boot"];
const HOST_KEY = "/etc/dropbear/dropbear_ed25519_host_key";
const DISK_SIZE_MIB = 256;
/** Counts up when this file changes what it makes. */
const RECIPE_REVISION = 3;

const KERNEL_COMMAND_LINE = [
  "console=ttyS0",
  "quiet",
  "panic=-1",
  // A small guest cannot spare the 64 MiB that the kernel takes when memory could be plugged above 4 GiB.
  "swiotlb=noforce",
  // Code that does not run need not be translated: under TCG the first run of anything costs 8 µs per basic block.
  "lsm=capability",
  "audit=0",
  "nowatchdog",
  "tsc=reliable",
  "psi=0",
  "cgroup_disable=memory",
].join(" ");

const GUEST: GuestProfile = {
  recipe: "mini",
  memoryMiB: 96,
  cpus: 1,
  growth: {
    maxCpus: 8,
    // 32 blocks of 128 MiB more than it is frozen with.
    maxMemoryMiB: 4192,
    timerHz: 250,
    disk: { kind: "disk", mountPoint: "/", device: "vda", maxDiskMiB: 65_536 },
  },
  kernelCommandLine: KERNEL_COMMAND_LINE,
  interface: "eth0",
  helper: true,
  ready: [{ probe: "helper" }, { probe: "agent" }, { probe: "port", port: 22 }],
  generalize: {
    remove: [
      "/etc/dropbear/dropbear_rsa_host_key",
      "/etc/dropbear/dropbear_ecdsa_host_key",
      "/root/.ssh/*",
      "/root/.ash_history",
      "/var/lib/dhcp/*",
      "/var/log/*",
      "/var/tmp/*",
    ],
    truncate: [],
    keep: [],
  },
  // All of it is in folders that guest/mini/boot keeps in memory, so that a claim touches no file system on a disk.
  identity: {
    ipv6: true,
    // Debian's cloud kernel has no CONFIG_VMGENID.
    vmGenerationId: false,
    hostname: "/etc/hostname",
    hosts: "/etc/hosts",
    machineId: "/etc/machine-id",
    dbusMachineId: "/var/lib/dbus/machine-id",
    sshHostKey: { path: HOST_KEY, format: "dropbear" },
    authorizedKeys: "/root/.ssh/authorized_keys",
    randomSeed: "/var/lib/random-seed",
  },
};

/** Debian's cloud kernel, busybox, qemu-guest-agent, dropbear and the helper, on an ext4 of a few MiB. */
export const miniRecipe: Recipe = { guest: GUEST, inputsKey, make };

async function inputsKey(): Promise<string> {
  const hash = createHash("sha256");
  hash.update(
    JSON.stringify([RECIPE_REVISION, KERNEL_METAPACKAGE, PACKAGES, PROGRAMS, INITRAMFS_MODULES, DISK_SIZE_MIB, GUEST]),
  );
  for (const name of GUEST_FILES) hash.update(await readFile(guestFile(name)));
  return hash.digest("hex").slice(0, 16);
}

async function make(output: RecipePaths, context: RecipeContext): Promise<void> {
  const { workDir, progress, signal } = context;
  const unpacked = join(workDir, "unpacked");

  progress("download", "Debian packages: cloud kernel, busybox, qemu-guest-agent, dropbear");
  const packages = await DebianPackages.update(context.downloadsDir, signal);
  const kernelPackage = await packages.dependency(KERNEL_METAPACKAGE, /^linux-image-\d/);
  const names = await packages.closure(PACKAGES);
  progress("unpack", `${names.length + 1} packages, unpacked and not installed`);
  await packages.unpack([kernelPackage, ...names], join(workDir, "packages"), unpacked);

  progress("disk", "guest root, initramfs and kernel");
  const kernelRelease = kernelPackage.slice("linux-image-".length);
  await copyFile(join(unpacked, `boot/vmlinuz-${kernelRelease}`), output.kernel);
  await makeInitramfs({ dir: unpacked, release: kernelRelease }, output.initrd, context);
  await compileHelper(output.helper, signal);
  await makeDisk(unpacked, output, context);
}

async function makeDisk(unpacked: string, output: RecipePaths, context: RecipeContext): Promise<void> {
  const root = new GuestRoot(join(context.workDir, "root"));
  const folders = ["/dev", "/etc/dropbear", "/home", "/proc", "/run", "/sys", "/var/log", "/var/tmp"];
  for (const folder of folders) await root.directory(folder);
  await root.directory("/root/.ssh", 0o700);
  await root.directory("/var/lib/dbus");
  await root.directory("/root", 0o700);
  await root.directory("/tmp", 0o1777);

  const busybox = join(unpacked, "bin/busybox");
  await root.copy(busybox, "/bin/busybox", 0o755);
  const applets = await runTool([busybox, "--list-full"], { timeoutMs: 10_000, signal: context.signal });
  for (const applet of applets.toString("utf8").trim().split("\n")) {
    if (applet !== "bin/busybox" && applet !== "linuxrc") await root.link(`/${applet}`, "/bin/busybox");
  }

  for (const program of PROGRAMS) {
    await root.copy(join(unpacked, program), `/${program}`, 0o755);
    for (const library of await sharedLibraries(unpacked, program, context.signal)) {
      await root.copy(library, `/lib/x86_64-linux-gnu/${basename(library)}`, 0o755);
    }
  }
  await root.copy(join(unpacked, LOADER), `/${LOADER}`, 0o755);

  await root.copy(output.helper, "/usr/sbin/substrate-helper", 0o755);
  await root.copy(guestFile("mini/inittab"), "/etc/inittab");
  await root.copy(guestFile("mini/boot"), "/etc/init.d/boot", 0o755);
  await root.file("/etc/hostname", "localhost\n");
  await root.file("/etc/hosts", "127.0.0.1 localhost\n");
  await root.file("/etc/machine-id", "", 0o444);
  await root.file(HOST_KEY, "", 0o600);
  // No password opens this account; SSH takes keys only.
  await root.file("/etc/passwd", "root:*:0:0:root:/root:/bin/sh\n");
  await root.file("/etc/group", "root:x:0:\n");
  await ext4Image(root.dir, output.disk, DISK_SIZE_MIB, context);
}
