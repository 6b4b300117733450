import { execFile } from "node:child_process";
import { mkdir, open, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { aptSources, aptTransport } from "../../lib/substrate/recipes/debian/apt-sources.ts";

const run = promisify(execFile);
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const MIB = 2 ** 20;
const SECTOR = 512;
const SUITE = "bookworm";
const PACKAGES = [
  "cloud-init",
  "dbus",
  "initramfs-tools",
  "iproute2",
  "isc-dhcp-client",
  "linux-image-cloud-amd64",
  "openssh-server",
  "qemu-guest-agent",
  "systemd-sysv",
  "udev",
];
const LABEL = "cloudimg-rootfs";
const ROOT_MIB = 1280;
const ESP_MIB = 64;
const MODULES = ["part_gpt", "fat", "ext2", "normal", "linux", "search", "search_label", "configfile"];
const CONFIGURATION = `search --no-floppy --label ${LABEL} --set=root
linux /boot/KERNEL root=LABEL=${LABEL} ro console=ttyS0
initrd /boot/INITRD
boot
`;
/** The order in which Debian's cloud images have them: what was made first is behind what BIOS and UEFI start from. */
const TABLE = `label: gpt
14: start=2048, size=6144, type=21686148-6449-6E6F-744E-656564454649
15: start=8192, size=${(ESP_MIB * MIB) / SECTOR}, type=U
1: type=L
`;

/**
 * A disk as a distribution publishes it: Debian's own packages with its kernel, initramfs-tools, systemd and cloud-init, a GPT with the
 * root last, GRUB for UEFI. Nothing in it was made for this project.
 *
 * @returns a raw image in `dir`
 */
export async function cloudImage(dir: string): Promise<string> {
  const root = join(dir, "root");
  await unpack(dir, root);
  const boot = await readdir(join(root, "boot"));
  const named = (prefix: string) => boot.find((name) => name.startsWith(prefix)) ?? "";
  const configuration = CONFIGURATION.replace("KERNEL", named("vmlinuz-")).replace("INITRD", named("initrd.img-"));
  const esp = await espOf(dir, configuration);
  const fs = join(dir, "root.ext4");
  const mke2fs = ["-q", "-t", "ext4", "-L", LABEL, "-E", "root_owner=0:0", "-d", root, fs, `${ROOT_MIB}M`];
  await run("mke2fs", mke2fs, { env: ENVIRONMENT });
  await rm(root, { recursive: true });
  return assemble(dir, esp, fs);
}

async function unpack(dir: string, root: string): Promise<void> {
  const [sources, transport, archive] = [join(dir, "debian.sources"), join(dir, "apt.conf"), join(dir, "root.tar")];
  await writeFile(sources, await aptSources(SUITE));
  await writeFile(transport, await aptTransport(undefined));
  const options = ["--mode=root", "--variant=minbase", "--format=tar", `--include=${PACKAGES.join(",")}`];
  const quiet = [`--aptopt=${transport}`, '--aptopt=APT::Install-Recommends "false"'];
  await run("mmdebstrap", [...options, ...quiet, SUITE, archive, sources], { maxBuffer: 64 * MIB });
  await mkdir(root);
  await run("tar", ["-C", root, "--exclude=./dev/*", "--numeric-owner", "-xpf", archive]);
  await rm(archive);
  // Their packages' scripts have made keys for this one image, which whoever publishes one takes out again.
  for (const name of await readdir(join(root, "etc/ssh"))) {
    if (name.startsWith("ssh_host_")) await rm(join(root, "etc/ssh", name));
  }
  await writeFile(join(root, "etc/machine-id"), "");
  await writeFile(join(root, "etc/fstab"), `LABEL=${LABEL} / ext4 rw 0 1\n`);
  await writeFile(join(root, "etc/hostname"), "debian\n");
}

async function espOf(dir: string, configuration: string): Promise<string> {
  const [image, efi, file] = [join(dir, "esp.fat"), join(dir, "BOOTX64.EFI"), join(dir, "grub.cfg")];
  await writeFile(file, configuration);
  await run("grub-mkimage", ["-O", "x86_64-efi", "-o", efi, "-c", file, "-p", "/", ...MODULES]);
  await run("mkfs.vfat", ["-C", "-F", "32", image, String((ESP_MIB * MIB) / 1024)], { env: ENVIRONMENT });
  await run("mmd", ["-i", image, "::/EFI", "::/EFI/BOOT"]);
  await run("mcopy", ["-i", image, efi, "::/EFI/BOOT/BOOTX64.EFI"]);
  return image;
}

async function assemble(dir: string, esp: string, fs: string): Promise<string> {
  const image = join(dir, "disk.raw");
  await using handle = await open(image, "wx");
  await handle.truncate((ROOT_MIB + ESP_MIB + 8) * MIB);
  const child = run("sfdisk", ["--quiet", image], { env: ENVIRONMENT });
  child.child.stdin?.end(TABLE);
  await child;
  const table = (await sfdiskDump(image)).partitions;
  const startOf = (number: number) => (table.find(({ node }) => node === `${image}${number}`)?.start ?? 0) * SECTOR;
  await copyAt(esp, image, startOf(15));
  await copyAt(fs, image, startOf(1));
  return image;
}

async function copyAt(from: string, to: string, offset: number): Promise<void> {
  const at = ["conv=notrunc,sparse", "bs=1M", "oflag=seek_bytes", `seek=${offset}`, "status=none"];
  await run("dd", [`if=${from}`, `of=${to}`, ...at]);
}

/** What sfdisk(8) reads of a disk's table. */
async function sfdiskDump(image: string) {
  const { stdout } = await run("sfdisk", ["--json", image], { env: ENVIRONMENT });
  return (JSON.parse(stdout) as { partitiontable: Table }).partitiontable;
}

interface Table {
  readonly label: string;
  readonly partitions: readonly { readonly node: string; readonly start: number; readonly size: number }[];
}
