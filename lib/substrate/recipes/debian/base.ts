import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isVmSubstrateError, VmSubstrateError } from "../../../core/index.ts";
import { type RecipePaths, runTool } from "../../../host/index.ts";
import type { RecipeContext } from "../../recipe.ts";
import { DebianPackages } from "../debian-packages.ts";
import { INITRAMFS_FILE, INITRAMFS_MODULES, makeInitramfs } from "../guest-initramfs.ts";
import { GuestRoot } from "../guest-root.ts";
import { compileHelper, guestFile, HELPER_FILES } from "../helper-binary.ts";
import { ext4Image, Fakeroot } from "../images.ts";
import { aptSources, aptTransport } from "./apt-sources.ts";
import type { DebianDocument } from "./document.ts";

const SUITE = "bookworm";
const KERNEL_METAPACKAGE = "linux-image-cloud-amd64";
const PACKAGES = [
  "ca-certificates",
  "dbus",
  "iproute2",
  "kmod",
  "openssh-server",
  "procps",
  "qemu-guest-agent",
  "systemd-sysv",
  "udev",
];
const BOOTSTRAP_TIMEOUT_MS = 1_200_000;
const TOOL_TIMEOUT_MS = 300_000;
/** What a program mounts is seen by itself alone, and gone with it. Source: unshare(1), mount_namespaces(7). */
const OWN_MOUNTS = ["unshare", "--mount", "--"] as const;
/** Keys and seeds are made for each clone; sshd has groups of its own where it finds no moduli, which are half a MiB of memory. */
const NOT_IN_A_DISK = ["./etc/ssh/moduli", "./etc/ssh/ssh_host_*", "./var/lib/systemd/random-seed", "./dev/*"];
/** Timers and consoles of a machine that lives for months. */
const MASKED_UNITS = [
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "e2scrub_reap.service",
  "fstrim.timer",
  "getty@tty1.service",
  "serial-getty@ttyS0.service",
  "systemd-logind.service",
  "systemd-machine-id-commit.service",
  "systemd-pstore.service",
  "systemd-random-seed.service",
  "systemd-tmpfiles-clean.timer",
];
/** Folders of the identity's files, kept in memory, and their modes. */
const MEMORY_FOLDERS = "etc 755\nroot/.ssh 700\nvar/lib/systemd 755\n";
/** For hardware that no clone has, and that udev would load drivers for. */
const NO_MODULES = ["ata_generic", "ata_piix", "evdev", "kvm_amd", "kvm_intel", "psmouse", "serio_raw"];
const JOURNAL = "[Journal]\nStorage=volatile\nRuntimeMaxUse=2M\n";
const FILES = [
  "debian/helper.service",
  "debian/network.service",
  "debian/ssh.socket",
  "debian/ssh@.service",
  INITRAMFS_FILE,
  ...HELPER_FILES,
];

/** All of this machine's own that goes into a base. */
export const BASE_FILES: readonly string[] = FILES;
/** Counts up when this file changes what it makes. */
export const BASE_REVISION = [
  1,
  SUITE,
  KERNEL_METAPACKAGE,
  PACKAGES,
  INITRAMFS_MODULES,
  MASKED_UNITS,
  MEMORY_FOLDERS,
  JOURNAL,
  NO_MODULES,
];

/**
 * Debian's packages as an installed system, with kernel, initramfs and helper, without root: mmdebstrap(1) runs their scripts in
 * a changed root that fakechroot(1) plays where a real one is not allowed.
 *
 * @throws VmSubstrateError RECIPE_FAILED, RECIPE_TOOL_MISSING, TIMEOUT, ABORTED
 */
export async function makeBase(
  { packages, diskMiB }: Pick<DebianDocument, "packages" | "diskMiB">,
  output: RecipePaths,
  context: RecipeContext,
): Promise<void> {
  const { workDir, signal, progress } = context;
  const archive = join(workDir, "root.tar");
  progress("download", `Debian ${SUITE} with ${[...PACKAGES, ...packages].join(", ")}`);
  await bootstrap([...PACKAGES, ...packages], archive, context);
  progress("unpack", "kernel");
  const kernel = join(workDir, "kernel");
  const archives = await DebianPackages.update(context.downloadsDir, signal);
  const kernelPackage = await archives.dependency(KERNEL_METAPACKAGE, /^linux-image-\d/);
  await archives.unpack([kernelPackage, "busybox-static"], join(workDir, "packages"), kernel);
  const release = kernelPackage.slice("linux-image-".length);

  progress("disk", "guest root, initramfs and kernel");
  await copyFile(join(kernel, `boot/vmlinuz-${release}`), output.kernel);
  await makeInitramfs({ dir: kernel, release }, output.initrd, context, MEMORY_FOLDERS);
  await compileHelper(output.helper, signal);
  const root = new GuestRoot(join(workDir, "root"));
  await mkdir(root.dir);
  const fakeroot = new Fakeroot(join(workDir, "owners"));
  const exclude = NOT_IN_A_DISK.map((pattern) => `--exclude=${pattern}`);
  const unpacking = ["tar", "-C", root.dir, "--numeric-owner", ...exclude, "-xpf", archive] as const;
  await fakeroot.run(unpacking, { timeoutMs: TOOL_TIMEOUT_MS, signal });
  const modules = ["cp", "-a", join(kernel, "lib/modules"), join(root.dir, "usr/lib/")] as const;
  await runTool(modules, { timeoutMs: TOOL_TIMEOUT_MS, signal });
  await runTool(["depmod", "-b", root.dir, release], { timeoutMs: TOOL_TIMEOUT_MS, signal });
  await addOwnFiles(root, output.helper);
  await ext4Image(root.dir, output.disk, diskMiB, { fakeroot, signal });
}

async function bootstrap(packages: readonly string[], archive: string, context: RecipeContext): Promise<void> {
  const { workDir, signal } = context;
  const sources = join(workDir, "debian.sources");
  const transport = join(workDir, "apt.conf");
  await writeFile(sources, await aptSources(SUITE));
  await writeFile(transport, await aptTransport(signal));
  const options = [
    `--mode=${process.getuid?.() === 0 ? "root" : "fakechroot"}`,
    "--variant=minbase",
    "--format=tar",
    `--include=${packages.join(",")}`,
    `--aptopt=${transport}`,
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
  ];
  // It has children of its own, which end with it: at the latest when this process does. So do file systems that it mounts.
  const mmdebstrap = ["setpriv", "--pdeathsig", "TERM", "mmdebstrap", ...options, SUITE, archive, sources] as const;
  const argv = (await hasMountNamespaces(signal)) ? ([...OWN_MOUNTS, ...mmdebstrap] as const) : mmdebstrap;
  const env = { TMPDIR: workDir };
  await runTool(argv, { timeoutMs: BOOTSTRAP_TIMEOUT_MS, signal, env, killSignal: "SIGTERM" }).catch(
    (cause: unknown) => {
      throw isVmSubstrateError(cause, "RECIPE_FAILED") ? inItsWords(cause) : cause;
    },
  );
}

/** Root in a container may have none; then it may not mount either, and mmdebstrap does without. */
async function hasMountNamespaces(signal: AbortSignal | undefined): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  return runTool([...OWN_MOUNTS, "true"], { timeoutMs: TOOL_TIMEOUT_MS, signal }).then(
    () => true,
    () => false,
  );
}

/** The first thing that went wrong, out of all that mmdebstrap and apt say of it. */
function inItsWords(cause: VmSubstrateError): VmSubstrateError {
  const first = /^E: (.+)$/m.exec(cause.message)?.[1];
  if (first === undefined) return cause;
  return new VmSubstrateError("RECIPE_FAILED", `mmdebstrap: ${first}`, { cause, details: { program: "mmdebstrap" } });
}

/** What the packages do not bring. Folders that are there keep their modes. */
async function addOwnFiles(root: GuestRoot, helper: string): Promise<void> {
  await root.copy(helper, "/usr/lib/vm-substrate/helper", 0o755);
  const units = "/etc/systemd/system";
  for (const name of ["helper", "network"]) {
    const unit = `vm-substrate-${name}.service`;
    await root.copy(guestFile(`debian/${name}.service`), `${units}/${unit}`);
    await root.link(`${units}/multi-user.target.wants/${unit}`, `../${unit}`);
  }
  for (const unit of MASKED_UNITS) await root.link(`${units}/${unit}`, "/dev/null");
  for (const unit of ["ssh.socket", "ssh@.service"]) await root.copy(guestFile(`debian/${unit}`), `${units}/${unit}`);
  await root.link(`${units}/sockets.target.wants/ssh.socket`, "../ssh.socket");
  await root.link(`${units}/ssh.service`, "/dev/null");
  await root.file("/etc/systemd/journald.conf.d/volatile.conf", JOURNAL);
  await root.file("/etc/modprobe.d/vm-substrate.conf", NO_MODULES.map((name) => `blacklist ${name}\n`).join(""));
  await root.file("/etc/hostname", "localhost\n");
  await root.file("/etc/hosts", "127.0.0.1 localhost\n");
  await root.file("/etc/machine-id", "", 0o444);
  await root.file("/etc/fstab", "");
  await root.directory("/root/.ssh", 0o700);
}
