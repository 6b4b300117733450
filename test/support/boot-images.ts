import { execFile } from "node:child_process";
import { access, chmod, mkdir, open, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { Paths, type RecipePaths } from "../../lib/host/index.ts";
import { recipeNamed } from "../../lib/substrate/index.ts";
import { labDirectories } from "./lab.ts";

const run = promisify(execFile);
const MIB = 2 ** 20;
const SECTOR = 512;
const BOOT_START = MIB / SECTOR;
const BOOT_MIB = 64;
const ROOT_START = BOOT_START + (BOOT_MIB * MIB) / SECTOR;
/** Of a GPT: room between the table and the first aligned sector, for GRUB's core. */
const CORE_START = 40;
const FAT = 0xef;
const LINUX = 0x83;
const GRUB = "/usr/lib/grub";
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

/** Each in the package that has it; scripts/bootstrap installs them. */
const TOOLS = [
  ["/usr/bin/grub-mkimage", "grub-common"],
  [`${GRUB}/i386-pc/boot.img`, "grub-pc-bin"],
  [`${GRUB}/x86_64-efi/moddep.lst`, "grub-efi-amd64-bin"],
  ["/usr/bin/mcopy", "mtools"],
  ["/usr/sbin/mkfs.vfat", "dosfstools"],
  ["/usr/sbin/sfdisk", "fdisk"],
] as const;

/** GRUB finds the rest by itself, on whichever disk it was started from. */
const FIND_CONFIGURATION = "search --no-floppy --file /grub.cfg --set=root\nconfigfile /grub.cfg\n";
const CONFIGURATION = [
  "serial --unit=0",
  "terminal_output serial",
  "linux /vmlinuz console=ttyS0 quiet panic=-1 rootdev=/dev/vda2 swiotlb=noforce mitigations=off",
  "initrd /initrd",
  "boot",
  "",
].join("\n");
const MODULES = [
  "part_msdos",
  "part_gpt",
  "fat",
  "normal",
  "linux",
  "serial",
  "search",
  "search_fs_file",
  "configfile",
];

const GPT = `label: gpt
first-lba: 34
3: start=${CORE_START}, size=${BOOT_START - CORE_START}, type=21686148-6449-6E6F-744E-656564454649
1: start=${BOOT_START}, size=${ROOT_START - BOOT_START}
2: start=${ROOT_START}
`;

/** A file that a test puts into the root file system. */
export interface AddedFile {
  readonly path: string;
  readonly content: string;
  readonly mode: number;
}

/**
 * A disk as an installer leaves it, with the guest of `mini`: an MBR with GRUB for BIOS, a FAT partition with kernel,
 * initramfs and GRUB for UEFI, and an ext4 partition. Made without root.
 *
 * @returns a raw image in `dir`
 */
export async function bootableImage(dir: string, added: readonly AddedFile[] = []): Promise<string> {
  await mkdir(dir, { recursive: true });
  const { disk, kernel, initrd } = await miniFiles();
  const root = join(dir, "root.ext4");
  await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", disk, root]);
  for (const { path, content, mode } of added) await addFile(dir, root, path, content, mode);
  return assembleImage(dir, { kernel, initrd, root });
}

/** What a disk boots, and the file system that it then has. */
export interface ImageParts {
  readonly kernel: string;
  readonly initrd: string;
  /** A file system, as a raw image. */
  readonly root: string;
}

/** Boots by BIOS with either table, by UEFI with an MBR. The root is partition 2. @returns a raw image in `dir` */
export async function assembleImage(dir: string, parts: ImageParts, table: "mbr" | "gpt" = "mbr"): Promise<string> {
  await requireTools(TOOLS);
  const boot = await bootPartition(dir, parts);
  const image = join(dir, "disk.raw");
  const rootBytes = (await stat(parts.root)).size;
  await using handle = await open(image, "wx");
  await handle.truncate(ROOT_START * SECTOR + rootBytes + (table === "gpt" ? MIB : 0));
  const core = await grubCore(dir);
  if (table === "gpt") {
    const cutting = run("sfdisk", ["--quiet", image], { env: ENVIRONMENT });
    cutting.child.stdin?.end(GPT);
    await cutting;
    // Each sector names where the next one is: the first that of the core, the core's first that of its rest.
    const first = await firstSector();
    first.writeBigUInt64LE(BigInt(CORE_START), 0x5c);
    core.writeBigUInt64LE(BigInt(CORE_START + 1), 0x1f4);
    await handle.write(first, 0, 440, 0);
    await handle.write(core, 0, undefined, CORE_START * SECTOR);
  } else {
    await handle.write(Buffer.concat([await mbr(rootBytes / SECTOR), core]), 0, undefined, 0);
  }
  await copyAt(boot, image, BOOT_START * SECTOR);
  await copyAt(parts.root, image, ROOT_START * SECTOR);
  return image;
}

async function copyAt(from: string, to: string, offset: number): Promise<void> {
  const at = ["conv=notrunc,sparse", "bs=1M", "oflag=seek_bytes", `seek=${offset}`, "status=none"];
  await run("dd", [`if=${from}`, `of=${to}`, ...at]);
}

/** @param tools a file of each, and the package that has it */
export async function requireTools(tools: readonly (readonly [string, string])[]): Promise<void> {
  for (const [file, debianPackage] of tools) {
    await access(file).catch(() => {
      throw new Error(`${file} is missing: apt-get install ${debianPackage}, or scripts/bootstrap`);
    });
  }
}

/** What the tests' own `mini` was made of. */
export async function miniFiles(): Promise<RecipePaths> {
  return new Paths(labDirectories()).recipeCache("mini", await recipeNamed("mini").inputsKey());
}

async function addFile(dir: string, image: string, path: string, content: string, mode: number): Promise<void> {
  const file = join(dir, "added");
  await writeFile(file, content);
  await chmod(file, mode);
  await run("debugfs", ["-w", "-R", `write ${file} ${path}`, image], { env: ENVIRONMENT });
}

async function bootPartition(dir: string, guest: ImageParts): Promise<string> {
  const image = join(dir, "boot.fat");
  const efi = join(dir, "BOOTX64.EFI");
  const configuration = join(dir, "grub.cfg");
  await grub(dir, "x86_64-efi", efi, []);
  await writeFile(configuration, CONFIGURATION);
  await run("mkfs.vfat", ["-C", "-F", "32", image, String(BOOT_MIB * 1024)], { env: ENVIRONMENT });
  await run("mmd", ["-i", image, "::/EFI", "::/EFI/BOOT"]);
  const files = [
    [efi, "EFI/BOOT/BOOTX64.EFI"],
    [configuration, "grub.cfg"],
    [guest.kernel, "vmlinuz"],
    [guest.initrd, "initrd"],
  ] as const;
  for (const [file, name] of files) await run("mcopy", ["-i", image, file, `::/${name}`]);
  return image;
}

async function grubCore(dir: string): Promise<Buffer> {
  const core = join(dir, "core.img");
  await grub(dir, "i386-pc", core, ["biosdisk"]);
  return readFile(core);
}

async function firstSector(): Promise<Buffer> {
  const first = await readFile(`${GRUB}/i386-pc/boot.img`);
  first.fill(0, 446, 510); // where code for floppies was
  return first;
}

/** The first sector loads the second, which loads the rest of GRUB's core from behind it: as both come from GRUB. */
async function mbr(rootSectors: number): Promise<Buffer> {
  const first = await firstSector();
  partition(0x80, FAT, BOOT_START, ROOT_START - BOOT_START).copy(first, 446);
  partition(0, LINUX, ROOT_START, rootSectors).copy(first, 462);
  first.writeUInt16LE(0xaa55, 510);
  return first;
}

function partition(flags: number, type: number, start: number, sectors: number): Buffer {
  const entry = Buffer.from([flags, 0xfe, 0xff, 0xff, type, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
  entry.writeUInt32LE(start, 8);
  entry.writeUInt32LE(sectors, 12);
  return entry;
}

async function grub(dir: string, platform: string, output: string, modules: readonly string[]): Promise<void> {
  const configuration = join(dir, "find.cfg");
  await writeFile(configuration, FIND_CONFIGURATION);
  await run("grub-mkimage", ["-O", platform, "-o", output, "-c", configuration, "-p", "/", ...modules, ...MODULES]);
}

/** As a qcow2 of the user's, with nothing else changed. */
export async function asQcow2(raw: string, qcow2: string): Promise<string> {
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, qcow2]);
  return qcow2;
}
