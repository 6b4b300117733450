import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, readlink, stat, truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { Paths } from "../../lib/host/index.ts";
import { DebianPackages } from "../../lib/substrate/recipes/debian-packages.ts";
import { INITRAMFS_FILE, INITRAMFS_MODULES, makeInitramfs } from "../../lib/substrate/recipes/guest-initramfs.ts";
import { GuestRoot } from "../../lib/substrate/recipes/guest-root.ts";
import { guestFile } from "../../lib/substrate/recipes/helper-binary.ts";
import { initramfs } from "../../lib/substrate/recipes/images.ts";
import { modulesInLoadOrder } from "../../lib/substrate/recipes/kernel-modules.ts";
import { type ImageParts, miniFiles, requireTools } from "./boot-images.ts";
import { labDirectories } from "./lab.ts";

const run = promisify(execFile);
const MIB = 2 ** 20;
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
/** Not the one for clouds, which the other guests have: only this one knows vmgenid. */
const KERNEL_METAPACKAGE = "linux-image-amd64";
const TOOLS = [
  ["/usr/sbin/mkfs.xfs", "xfsprogs"],
  ["/usr/sbin/mkfs.btrfs", "btrfs-progs"],
  ["/usr/bin/fakeroot", "fakeroot"],
] as const;
/** Not much more than the least that each of them can be, 300 and 256 MiB. */
const ROOT_MIB = 320;
/** Of zeros, so that a file that has no room before the disk grows need not be large. */
const FILLERS = 5;
const FILLER_MIB = 32;

/** Which both ask for by the name of an algorithm, so that it is no dependency of theirs. */
const CHECKSUMS = "crc32c_generic";

/** Those that Debian's kernels have as modules. */
export const OTHER_FILE_SYSTEMS = ["xfs", "btrfs"] as const;
export type OtherFileSystem = (typeof OTHER_FILE_SYSTEMS)[number];

/**
 * The guest of `mini` on another file system than its own, made without root and without a mount.
 *
 * @param dir an empty folder
 */
export async function partsOnOtherFileSystems(dir: string): Promise<Readonly<Record<OtherFileSystem, ImageParts>>> {
  await requireTools(TOOLS);
  const root = join(dir, "root");
  await mkdir(root);
  const ext4 = join(dir, "root.ext4");
  await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", (await miniFiles()).disk, ext4]);
  await run("debugfs", ["-R", `rdump / ${root}`, ext4], { env: ENVIRONMENT });
  for (let i = 0; i < FILLERS; i++) await fileOfZeros(join(root, `home/filler-${i}`), FILLER_MIB);
  const { unpacked, release } = await unpackKernel(dir);
  const kernel = join(unpacked, `boot/vmlinuz-${release}`);
  const [xfs, btrfs] = [join(dir, "root.xfs"), join(dir, "root.btrfs")];
  await makeXfs(dir, root, xfs);
  await makeBtrfs(root, btrfs);
  return {
    xfs: { kernel, initrd: await initrdFor("xfs", dir, unpacked, release), root: xfs },
    btrfs: { kernel, initrd: await initrdFor("btrfs", dir, unpacked, release), root: btrfs },
  };
}

async function unpackKernel(dir: string) {
  const packages = await DebianPackages.update(new Paths(labDirectories()).packageDownloads, undefined);
  const kernelPackage = await packages.dependency(KERNEL_METAPACKAGE, /^linux-image-\d/);
  const unpacked = join(dir, "unpacked");
  await packages.unpack([kernelPackage, "busybox-static"], join(dir, "packages"), unpacked);
  return { unpacked, release: kernelPackage.slice("linux-image-".length) };
}

/** That of every guest, and behind it an archive whose files take the place of some of its. */
async function initrdFor(kind: OtherFileSystem, dir: string, unpacked: string, release: string): Promise<string> {
  const workDir = join(dir, `initrd-${kind}`);
  const [first, second, file] = [join(workDir, "first"), join(workDir, "second"), join(workDir, "initrd")];
  await mkdir(workDir);
  await makeInitramfs({ dir: unpacked, release }, first, { workDir, signal: undefined });
  const added = new GuestRoot(join(workDir, "added"));
  const wanted = [...INITRAMFS_MODULES, CHECKSUMS, kind];
  const modules = await modulesInLoadOrder(join(unpacked, "lib/modules", release), wanted);
  for (const module of modules) await added.copy(module, `/modules/${basename(module)}`);
  await added.file("/modules/order", `${modules.map((module) => basename(module)).join("\n")}\n`);
  const init = await readFile(guestFile(INITRAMFS_FILE), "utf8");
  await added.file("/init", init.replace(/mount -t ext4 -o \S+/, `mount -t ${kind} -o noatime`), 0o755);
  await initramfs(added.dir, second);
  await writeFile(file, Buffer.concat([await readFile(first), await readFile(second)]));
  return file;
}

async function makeXfs(dir: string, root: string, image: string): Promise<void> {
  const prototype = join(dir, "prototype");
  // Three words that mkfs.xfs reads for the sake of other systems, and what is in the root.
  await writeFile(prototype, `- 0 0\nd--755 0 0\n${await prototypeOf(root)}`);
  await fileOfZeros(image, ROOT_MIB);
  await run("mkfs.xfs", ["-q", "-p", prototype, image], { env: ENVIRONMENT });
}

/** A folder's entries for mkfs.xfs(8), owned by root. */
async function prototypeOf(dir: string): Promise<string> {
  let lines = "";
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isSymbolicLink()) {
      lines += `${entry.name} l--777 0 0 ${await readlink(path)}\n`;
      continue;
    }
    const permissions = ((await stat(path)).mode & 0o777).toString(8).padStart(3, "0");
    lines += entry.isDirectory()
      ? `${entry.name} d--${permissions} 0 0\n${await prototypeOf(path)}`
      : `${entry.name} ---${permissions} 0 0 ${path}\n`;
  }
  return `${lines}$\n`;
}

async function makeBtrfs(root: string, image: string): Promise<void> {
  await fileOfZeros(image, ROOT_MIB);
  await run("fakeroot", ["mkfs.btrfs", "--quiet", "--rootdir", root, image], { env: ENVIRONMENT });
}

async function fileOfZeros(file: string, sizeMiB: number): Promise<void> {
  await writeFile(file, "", { flag: "wx" });
  await truncate(file, sizeMiB * MIB);
}
