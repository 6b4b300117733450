import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { VmSubstrateError } from "../core/index.ts";

/** `sun_path` is 108 bytes with its terminator. Node cuts a longer path silently, and so talks to another socket. */
export const SOCKET_PATH_MAX_BYTES = 107;

const FIRMWARE_CODE = "firmware-code.fd";
const FIRMWARE_VARS = "firmware-vars.fd";
const CACHE_REMOVAL = ".removed-";

export interface Directories {
  /** Durable: substrates, overlays, the owner lock. Default: $XDG_STATE_HOME/vm-substrate. */
  readonly stateDir?: string | undefined;
  /** Made guest images, shared by all state directories. Default: $XDG_CACHE_HOME/vm-substrate. */
  readonly cacheDir?: string | undefined;
  /** Sockets. Default: $XDG_RUNTIME_DIR/vm-substrate, else below /tmp. */
  readonly runtimeDir?: string | undefined;
  /** A tmpfs for RAM files. Default: /dev/shm. */
  readonly sharedMemoryDir?: string | undefined;
}

/** A user of a container need not be in its passwd(5). @throws VmSubstrateError INVALID_ARGUMENT */
function homeOf({ HOME }: NodeJS.ProcessEnv): string {
  if (HOME) return HOME;
  try {
    return homedir();
  } catch (cause) {
    const message = "this user has no home directory: set HOME, or give stateDir and cacheDir";
    throw new VmSubstrateError("INVALID_ARGUMENT", message, { cause });
  }
}

/** Every on-disk name of the project. Nothing else builds a path. */
export class Paths {
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly runtimeDir: string;
  /** The tmpfs itself, for headroom checks. */
  readonly sharedMemoryRoot: string;
  /** This state directory's own folder on the tmpfs. */
  readonly sharedMemoryDir: string;

  constructor(directories: Directories = {}, environment: NodeJS.ProcessEnv = process.env) {
    const uid = process.getuid?.() ?? -1;
    this.stateDir = resolve(
      directories.stateDir ??
        join(environment.XDG_STATE_HOME || join(homeOf(environment), ".local/state"), "vm-substrate"),
    );
    this.cacheDir = resolve(
      directories.cacheDir ?? join(environment.XDG_CACHE_HOME || join(homeOf(environment), ".cache"), "vm-substrate"),
    );
    // Two state directories of one user never meet in the shared places.
    const key = createHash("sha256").update(this.stateDir).digest("hex").slice(0, 8);
    const runtimeRoot = directories.runtimeDir ?? (environment.XDG_RUNTIME_DIR || "/tmp");
    this.runtimeDir = resolve(runtimeRoot, `vm-substrate-${uid}-${key}`);
    this.sharedMemoryRoot = resolve(directories.sharedMemoryDir ?? "/dev/shm");
    this.sharedMemoryDir = join(this.sharedMemoryRoot, `vm-substrate-${uid}-${key}`);
  }

  get ownerLock() {
    return join(this.stateDir, "owner.db");
  }
  get store() {
    return join(this.stateDir, "state.db");
  }
  get acceleratorVerdict() {
    return join(this.cacheDir, "accelerator.json");
  }
  get substrates() {
    return join(this.stateDir, "substrates");
  }
  get vms() {
    return join(this.stateDir, "vms");
  }
  /** Where the daemon of this state directory listens. */
  get daemonSocket() {
    return join(this.runtimeDir, "daemon.sock");
  }
  /** What a daemon writes that was started in the background. */
  get daemonLog() {
    return join(this.stateDir, "daemon.log");
  }
  /** Who may use a daemon's TCP address. */
  get daemonTokens() {
    return join(this.stateDir, "tokens");
  }

  get forks() {
    return join(this.stateDir, "forks");
  }

  get recipes() {
    return join(this.cacheDir, "recipes");
  }
  /** Held by builds in common, and alone by whoever takes things out of the cache. */
  get cacheLock() {
    return join(this.cacheDir, "lock.db");
  }
  /** Where parts of the cache are moved before they are removed. */
  cacheRemoval(removalId: string): string {
    return join(this.cacheDir, `${CACHE_REMOVAL}${removalId}`);
  }
  isCacheRemoval(name: string): boolean {
    return name.startsWith(CACHE_REMOVAL);
  }
  recipeCache(recipe: string, inputsKey: string): RecipePaths {
    return recipePaths(join(this.recipes, recipe, inputsKey));
  }
  /** Where a recipe's files are made, before one rename shows them. The PID tells whether its maker still lives. */
  recipeStaging(recipe: string, inputsKey: string, makeId: string): RecipePaths {
    return recipePaths(join(this.recipes, recipe, `.${inputsKey}-${makeId}-${process.pid}`));
  }
  /** The disks of a recipe's steps, each on the one before it. */
  recipeLayers(recipe: string): string {
    return join(this.recipes, recipe, "layers");
  }
  /** Compiled on this machine: the fork server's library, and the guest's program of sessions. */
  get nativeLibraries() {
    return join(this.cacheDir, "native");
  }
  get packageDownloads() {
    return join(this.cacheDir, "packages");
  }

  substrate(name: string, version: number): SubstratePaths {
    return substratePaths(join(this.substrates, name, String(version)));
  }
  /** Where a substrate is made, before one rename shows it. */
  substrateStaging(name: string, buildId: string): SubstratePaths {
    return substratePaths(join(this.substrates, `.${name}-${buildId}`));
  }
  /** Where a substrate is moved before it is removed, so that a crash leaves no half of one in sight. */
  substrateRemoval(name: string, version: number, removalId: string): string {
    return join(this.substrates, `.${name}-${version}-removed-${removalId}`);
  }
  /** The mapped copy of a substrate's RAM. */
  loadedRam(name: string, version: number): string {
    return join(this.sharedMemoryDir, `${name}-${version}.ram`);
  }
  buildRam(buildId: string): string {
    return join(this.sharedMemoryDir, `${buildId}.build.ram`);
  }

  /** What forks of a VM were made of: its device state and its disk at one instant. The RAM is a `buildRam`. */
  instant(id: string): { readonly dir: string; readonly state: string; readonly disk: string } {
    const dir = join(this.forks, id);
    return { dir, state: join(dir, "state"), disk: join(dir, "disk.qcow2") };
  }
  /** What a VM writes to after an instant. */
  vmOverlay(id: string, instant: string): string {
    return join(this.vms, id, `overlay-${instant}.qcow2`);
  }

  /** Whether a file in a VM's folder is one that it writes to, or did. */
  isOverlay(name: string): boolean {
    return /^overlay(-[^.]+)?\.qcow2$/.test(name);
  }

  /** @throws VmSubstrateError PATH_TOO_LONG */
  vm(id: string): VmPaths {
    const dir = join(this.vms, id);
    const sockets = join(this.runtimeDir, id);
    return {
      dir,
      sockets,
      overlay: join(dir, "overlay.qcow2"),
      firmwareVars: join(dir, FIRMWARE_VARS),
      log: join(dir, "qemu.log"),
      qmp: socketPath(join(sockets, "qmp")),
      agent: socketPath(join(sockets, "agent")),
      helper: socketPath(join(sockets, "helper")),
      migration: socketPath(join(sockets, "state")),
      stream: socketPath(join(sockets, "stream")),
      programs: this.nativeLibraries,
    };
  }
}

/** Where an archive is written before one rename shows it: beside it, since a rename does not cross file systems. */
export function archiveStaging(file: string, exportId: string): string {
  return join(dirname(file), `.vm-substrate-${exportId}.tmp`);
}

export interface RecipePaths {
  readonly dir: string;
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
  /** In place of those two, where the guest boots by UEFI. */
  readonly firmwareCode: string;
  readonly firmwareVars: string;
  /** The guest's helper as a program of its own, for guests into which the agent must carry it. */
  readonly helper: string;
}

export interface SubstratePaths {
  readonly dir: string;
  readonly manifest: string;
  readonly ram: string;
  readonly state: string;
  readonly disk: string;
  readonly helper: string;
  /** What its guest was booted by; a clone never boots. */
  readonly kernel: string;
  readonly initrd: string;
  readonly firmwareCode: string;
  readonly firmwareVars: string;
}

export interface VmPaths {
  readonly dir: string;
  readonly sockets: string;
  readonly overlay: string;
  /** Of a VM that was booted by UEFI; clones were not. */
  readonly firmwareVars: string;
  readonly log: string;
  readonly qmp: string;
  readonly agent: string;
  readonly helper: string;
  readonly migration: string;
  /** Of its sessions, while it has any. */
  readonly stream: string;
  /** Compiled on this machine, to be carried into the guest. */
  readonly programs: string;
}

function recipePaths(dir: string): RecipePaths {
  const file = (name: string) => join(dir, name);
  return {
    dir,
    disk: file("disk.qcow2"),
    kernel: file("vmlinuz"),
    initrd: file("initrd"),
    firmwareCode: file(FIRMWARE_CODE),
    firmwareVars: file(FIRMWARE_VARS),
    helper: file("helper"),
  };
}

function substratePaths(dir: string): SubstratePaths {
  return {
    dir,
    manifest: join(dir, "manifest.json"),
    ram: join(dir, "ram"),
    state: join(dir, "state"),
    disk: join(dir, "disk.qcow2"),
    helper: join(dir, "helper"),
    kernel: join(dir, "vmlinuz"),
    initrd: join(dir, "initrd"),
    firmwareCode: join(dir, FIRMWARE_CODE),
    firmwareVars: join(dir, FIRMWARE_VARS),
  };
}

/** @throws VmSubstrateError PATH_TOO_LONG */
export function socketPath(path: string): string {
  const bytes = Buffer.byteLength(path);
  if (bytes <= SOCKET_PATH_MAX_BYTES) return path;
  throw new VmSubstrateError(
    "PATH_TOO_LONG",
    `socket path is ${bytes} bytes, at most ${SOCKET_PATH_MAX_BYTES} fit: ${path}; choose a shorter runtimeDir`,
    { details: { path, bytes } },
  );
}
