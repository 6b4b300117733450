import { access, constants, readFile } from "node:fs/promises";
import { availableParallelism, userInfo } from "node:os";
import { delimiter, join } from "node:path";
import { formatMiB, MIB, messageOf } from "../core/index.ts";
import { knownVerdict } from "./accelerator.ts";
import { MEMORY_RESERVE_BYTES, SHARED_MEMORY_RESERVE_BYTES, sharedMemory } from "./headroom.ts";
import { type Directories, Paths } from "./paths.ts";
import { checkPrivateDir } from "./private-dir.ts";
import { availableMemoryBytes } from "./proc.ts";
import { SANDBOX } from "./qemu-argv.ts";
import { identifyQemu, type QemuBinary } from "./qemu-binary.ts";
import { runTool, SBIN_DIRECTORIES } from "./run-tool.ts";

const FEATURE_TIMEOUT_MS = 5000;
const DEVICES_WANTED = ["virtio-blk-pci", "virtio-net-pci", "virtio-serial-pci", "virtserialport"];

/** What building `mini` runs. */
const BUILD_TOOLS = ["apt-get", "dpkg-deb", "musl-gcc", "mke2fs", "debugfs", "qemu-img", "cpio"];
/** A substrate being built and one loaded. */
const SHARED_MEMORY_WANTED_BYTES = 256 * MIB;
const MEMORY_WANTED_BYTES = 1024 * MIB;
/** A VM needs three sockets and a few more for a moment. */
const OPEN_FILES_WANTED = 1024;

export interface DoctorCheck {
  readonly name: string;
  /** `fail`: VMs cannot be made here. `warn`: they can, with the drawback that is said. */
  readonly status: "ok" | "warn" | "fail";
  readonly found: string;
  /** What to do about it. */
  readonly hint?: string;
}

export interface DoctorOptions extends Directories {
  readonly qemu?: string | undefined;
}

/** Looks at this machine and changes nothing. Never throws. */
export async function doctor(options: DoctorOptions = {}): Promise<DoctorCheck[]> {
  const paths = new Paths(options);
  const qemu = await identifyQemu(options.qemu).catch((error: unknown) => messageOf(error));
  const asked = await Promise.all([
    features(qemu),
    accelerator(qemu, paths),
    buildTools(),
    sharedMemoryCheck(paths),
    memory(),
    swap(),
    openFiles(),
    privileges(),
    directories(paths),
  ]);
  return [platform(), qemuCheck(qemu), ...asked];
}

function platform(): DoctorCheck {
  const found = `${process.platform} ${process.arch}, Node ${process.versions.node}, ${availableParallelism()} processors`;
  if (process.platform === "linux" && process.arch === "x64") return { name: "platform", status: "ok", found };
  return { name: "platform", status: "fail", found, hint: "guests and QEMU are set up for x86_64 Linux only" };
}

function qemuCheck(qemu: QemuBinary | string): DoctorCheck {
  if (typeof qemu === "string") return { name: "qemu", status: "fail", found: qemu, hint: "run scripts/bootstrap" };
  return { name: "qemu", status: "ok", found: qemu.build };
}

/** What a distribution may have left out of its QEMU. */
async function features(qemu: QemuBinary | string): Promise<DoctorCheck> {
  const name = "qemu features";
  if (typeof qemu === "string") return { name, status: "fail", found: "no QEMU" };
  const ask = async (...argv: string[]) => {
    const output = await runTool([qemu.path, ...argv], { timeoutMs: FEATURE_TIMEOUT_MS, stdin: "quit\n" });
    return output.toString("utf8");
  };
  try {
    const devices = await ask("-device", "help");
    const missing = DEVICES_WANTED.filter((device) => !devices.includes(`"${device}"`));
    if (missing.length > 0) return { name, status: "fail", found: `missing devices: ${missing.join(", ")}` };
    const accelerators = (await ask("-accel", "help")).trim().split("\n").slice(1).join(", ");
    // Starts for real, so that a build without seccomp shows.
    await ask("-machine", "none", "-nodefaults", "-display", "none", "-sandbox", SANDBOX, "-monitor", "stdio");
    return { name, status: "ok", found: `virtio devices, sandbox, accelerators ${accelerators}` };
  } catch (error) {
    return { name, status: "fail", found: messageOf(error), hint: "a QEMU with virtio and seccomp is needed" };
  }
}

async function accelerator(qemu: QemuBinary | string, paths: Paths): Promise<DoctorCheck> {
  const name = "accelerator";
  const verdict = typeof qemu === "string" ? undefined : await knownVerdict(qemu, paths.acceleratorVerdict);
  if (verdict === undefined) {
    const hint = "the first build boots a canary guest under KVM to find out whether it works";
    return { name, status: "warn", found: "not decided yet", hint };
  }
  if (verdict.accelerator === "kvm") return { name, status: "ok", found: `kvm: ${verdict.reason}` };
  const hint = "TCG is slower and, as QEMU's security page says, promises no isolation from a hostile guest";
  return { name, status: "warn", found: `tcg: ${verdict.reason}`, hint };
}

async function buildTools(): Promise<DoctorCheck> {
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...SBIN_DIRECTORIES];
  const missing: string[] = [];
  for (const tool of BUILD_TOOLS) {
    const found = await Promise.all(folders.map((folder) => canExecute(join(folder, tool))));
    if (!found.includes(true)) missing.push(tool);
  }
  if (missing.length === 0) return { name: "build tools", status: "ok", found: BUILD_TOOLS.join(", ") };
  return {
    name: "build tools",
    status: "fail",
    found: `missing: ${missing.join(", ")}`,
    hint: "run scripts/bootstrap",
  };
}

async function sharedMemoryCheck(paths: Paths): Promise<DoctorCheck> {
  const name = "shared memory";
  try {
    const { isTmpfs, freeBytes } = await sharedMemory(paths.sharedMemoryRoot);
    const found = `${formatMiB(freeBytes)} free on ${paths.sharedMemoryRoot}`;
    if (!isTmpfs) return { name, status: "warn", found, hint: "not a tmpfs: RAM files there are as slow as its disk" };
    if (freeBytes >= SHARED_MEMORY_WANTED_BYTES + SHARED_MEMORY_RESERVE_BYTES) return { name, status: "ok", found };
    return {
      name,
      status: "fail",
      found,
      hint: `${formatMiB(SHARED_MEMORY_WANTED_BYTES)} are wanted: mount -o remount,size=...`,
    };
  } catch (error) {
    return { name, status: "fail", found: messageOf(error) };
  }
}

async function memory(): Promise<DoctorCheck> {
  const available = await availableMemoryBytes();
  const found = `${formatMiB(available)} available`;
  if (available >= MEMORY_WANTED_BYTES + MEMORY_RESERVE_BYTES) return { name: "memory", status: "ok", found };
  return { name: "memory", status: "warn", found, hint: "room for a few VMs only" };
}

/** Swapped-out guest memory lies readable on a disk. Source: Firecracker, production host setup. */
async function swap(): Promise<DoctorCheck> {
  const devices = (await readFile("/proc/swaps", "utf8").catch(() => "")).trim().split("\n").slice(1);
  if (devices.length === 0) return { name: "swap", status: "ok", found: "off" };
  return {
    name: "swap",
    status: "warn",
    found: `${devices.length} in use`,
    hint: "guest memory may be written to disk",
  };
}

async function openFiles(): Promise<DoctorCheck> {
  const limits = await readFile("/proc/self/limits", "utf8").catch(() => "");
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? "unlimited";
  const found = `${soft} open files`;
  if (soft === "unlimited" || Number(soft) >= OPEN_FILES_WANTED) return { name: "limits", status: "ok", found };
  return {
    name: "limits",
    status: "warn",
    found,
    hint: `room for about ${Math.floor(Number(soft) / 8)} VMs: ulimit -n`,
  };
}

async function privileges(): Promise<DoctorCheck> {
  const uid = process.getuid?.();
  const found = `${nameOfUser() ?? "a user without a name"} (${uid})`;
  if (uid !== 0) return { name: "user", status: "ok", found };
  return {
    name: "user",
    status: "warn",
    found,
    hint: "root is not needed; an ordinary user is safer, for QEMU runs as it",
  };
}

/** Undefined in a container whose passwd(5) has no such user. */
function nameOfUser(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

async function directories(paths: Paths): Promise<DoctorCheck> {
  const name = "directories";
  try {
    for (const dir of [paths.stateDir, paths.cacheDir, paths.runtimeDir, paths.sharedMemoryDir])
      await checkPrivateDir(dir);
    paths.vm("x".repeat(12));
    return { name, status: "ok", found: `${paths.stateDir}, ${paths.cacheDir}, ${paths.runtimeDir}` };
  } catch (error) {
    return { name, status: "fail", found: messageOf(error) };
  }
}

function canExecute(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
