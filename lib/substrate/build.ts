import { createHash, randomUUID } from "node:crypto";
import { chmod, copyFile, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import {
  isVmSubstrateError,
  type Logger,
  MIB,
  messageOf,
  newId,
  throwIfAborted,
  VmSubstrateError,
} from "../core/index.ts";
import {
  type Accelerator,
  CONSOLE_ID,
  cpuModelFor,
  decideAccelerator,
  type Monitor,
  type Paths,
  type QemuBinary,
  QemuInstance,
  qcow2VirtualSize,
  type RecipePaths,
  requireMemory,
  requireSharedMemory,
  type SubstratePaths,
} from "../host/index.ts";
import { ResidentHelper } from "../netcfg/index.ts";
import { GuestAgent } from "../qmp/index.ts";
import { Catalog, type Substrate } from "./catalog.ts";
import { freeze } from "./freeze.ts";
import { generalize, usedMemoryBytes } from "./generalize.ts";
import { deviceArguments, guestFor, MACHINE_TYPE, machineConfig } from "./machine.ts";
import { FORMAT_VERSION, type Manifest, serializeManifest } from "./manifest.ts";
import { prepareGuest } from "./prepared-guest.ts";
import type { Progress } from "./progress.ts";
import { awaitReady } from "./ready.ts";
import type { GuestProfile, Recipe } from "./recipe.ts";
import { copySparse, digestFile } from "./sparse-file.ts";

/** Counts up when what a build does to a guest changes: substrates of before are then made anew. */
const BUILD_REVISION = 5;
/** A cold boot takes 3 to 4 s under TCG when idle. */
const READY_TIMEOUT_MS = 90_000;
const STEP_TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 5000;
const CONSOLE_TAIL_BYTES = 4096;

export interface BuildDependencies {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
  readonly logger: Logger;
  readonly progress: Progress;
  readonly signal: AbortSignal | undefined;
  /** Whether the catalog's substrate will do when it was made of the same inputs. */
  readonly reuse: boolean;
  /** Fixed by the pool's owner, or decided by a canary boot. */
  readonly accelerator: Accelerator | undefined;
}

export interface BuildResult {
  readonly substrate: Substrate;
  /** True when the catalog already held one made of the same inputs. */
  readonly reused: boolean;
}

/**
 * Makes a substrate: boot, wait until ready, generalize, freeze, digest. Nothing of a failed or aborted build is left;
 * one rename shows a finished one.
 *
 * @throws VmSubstrateError BUILD_FAILED with the console's tail, RECIPE_*, INSUFFICIENT_*, QEMU_*, ABORTED
 */
export async function buildSubstrate(name: string, recipe: Recipe, deps: BuildDependencies): Promise<BuildResult> {
  const { paths, qemu, progress, signal, logger } = deps;
  const guestFiles = await prepareGuest(recipe, paths, progress, signal);
  progress("accelerator", deps.accelerator ?? "deciding whether KVM really works");
  const accelerator =
    deps.accelerator ??
    (await decideAccelerator(qemu, guestFiles, paths.acceleratorVerdict, { signal, logger })).accelerator;
  if (accelerator === "tcg")
    logger.warn({ recipe: recipe.guest.recipe }, "TCG: slower, and no isolation from a hostile guest");
  const inputsKey = await inputsKeyOf(recipe, qemu, accelerator);
  const catalog = new Catalog(paths);
  const known = await catalog.find(name).catch((error: unknown) => {
    if (isVmSubstrateError(error, "SUBSTRATE_CORRUPT")) return undefined; // building anew is the way out
    throw error;
  });
  if (deps.reuse && known?.manifest.inputsKey === inputsKey) {
    progress("done", `${name} ${known.manifest.version} is up to date`);
    return { substrate: known, reused: true };
  }

  const version = ((await catalog.versions(name))[0] ?? 0) + 1;
  const staging = paths.substrateStaging(name, newId());
  try {
    await mkdir(staging.dir, { recursive: true, mode: 0o700 });
    await copyFile(guestFiles.helper, staging.helper);
    const guest = guestFor(recipe.guest, accelerator);
    const frozen = await bootAndFreeze(guest, guestFiles, staging, accelerator, deps);
    progress("digest", "SHA-256 of every file");
    const manifest = await finish({
      name,
      version,
      inputsKey,
      accelerator,
      guest,
      frozen,
      staging,
      qemu,
    });
    const final = paths.substrate(name, version);
    throwIfAborted(signal, "build");
    await mkdir(dirname(final.dir), { recursive: true, mode: 0o700 });
    await rename(staging.dir, final.dir);
    progress("done", `${name} ${version}`);
    return { substrate: { manifest, paths: final }, reused: false };
  } finally {
    await rm(staging.dir, { recursive: true, force: true });
  }
}

interface Frozen {
  readonly ram: Manifest["files"]["ram"];
  readonly state: Manifest["files"]["state"];
  readonly devices: readonly string[];
  readonly memory: Manifest["memory"];
}

async function bootAndFreeze(
  guest: GuestProfile,
  guestFiles: RecipePaths,
  staging: SubstratePaths,
  accelerator: Accelerator,
  deps: BuildDependencies,
): Promise<Frozen> {
  const { paths, progress, signal, logger, qemu } = deps;
  const id = newId();
  const vmPaths = paths.vm(id);
  const buildRam = paths.buildRam(id);
  const assignedBytes = guest.memoryMiB * MIB;
  await requireSharedMemory(paths.sharedMemoryRoot, assignedBytes, `building a guest of ${guest.memoryMiB} MiB`);
  await requireMemory(assignedBytes, `building a guest of ${guest.memoryMiB} MiB`);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(buildRam, { force: true }));
  undo.defer(() => QemuInstance.removeFolders(vmPaths));
  await QemuInstance.prepareFolders(vmPaths);
  await copyFile(guestFiles.disk, staging.disk);

  progress("boot", `${guest.memoryMiB} MiB, ${accelerator}`);
  const config = machineConfig({
    id,
    uuid: randomUUID(),
    accelerator,
    cpuModel: cpuModelFor(accelerator),
    guest,
    paths: vmPaths,
    ram: { file: buildRam, share: true },
    disk: { file: staging.disk },
    kernel: { image: guestFiles.kernel, initrd: guestFiles.initrd, commandLine: guest.kernelCommandLine },
  });
  const instance = undo.use(await QemuInstance.launch({ qemu, config, paths: vmPaths, logger, signal }));
  const connect = { timeoutMs: CONNECT_TIMEOUT_MS, signal };
  const helper = undo.use(await ResidentHelper.connect(vmPaths.helper, connect));
  const agent = undo.use(await GuestAgent.connect(vmPaths.agent, connect));
  const channels = { agent, helper };

  const freezing = async () => {
    progress(
      "ready",
      guest.ready.map((probe) => (probe.probe === "port" ? `port ${probe.port}` : probe.probe)).join(", "),
    );
    await awaitReady(guest.ready, channels, { timeoutMs: READY_TIMEOUT_MS, signal });
    progress("generalize", "keys, machine-id, leases, logs, free memory");
    const step = { timeoutMs: STEP_TIMEOUT_MS, signal };
    await generalize(channels, guest, step);
    const usedBytes = await usedMemoryBytes(channels, step);
    progress("freeze", "RAM, device state and disk in one pause");
    const state = await freeze(instance, staging.state, signal);
    return { state, usedBytes };
  };
  const { state, usedBytes } = await instance.process.guard("build", freezing()).catch(async (error: unknown) => {
    throw await buildError(error, instance.qmp, signal);
  });
  await instance.process.terminate();
  const { residentBytes, ...ram } = await copySparse(buildRam, staging.ram, signal);
  return { ram, state, devices: deviceArguments(config), memory: { assignedBytes, usedBytes, residentBytes } };
}

/** The guest's last words say more than a timeout does. */
async function buildError(error: unknown, qmp: Monitor, signal: AbortSignal | undefined): Promise<unknown> {
  if (signal?.aborted || isVmSubstrateError(error, "BUILD_FAILED") || isVmSubstrateError(error, "QEMU_EXITED"))
    return error;
  const request = { device: CONSOLE_ID, size: CONSOLE_TAIL_BYTES };
  const tail = await qmp.execute<string>("ringbuf-read", request, { timeoutMs: 1000 }).catch(() => "");
  const message = `the guest did not become a substrate: ${messageOf(error)}; its console ends with: ${JSON.stringify(tail)}`;
  return new VmSubstrateError("BUILD_FAILED", message, { cause: error });
}

interface FinishOptions {
  readonly name: string;
  readonly version: number;
  readonly inputsKey: string;
  readonly accelerator: Accelerator;
  readonly guest: GuestProfile;
  readonly frozen: Frozen;
  readonly staging: SubstratePaths;
  readonly qemu: QemuBinary;
}

/** Digests what is left, writes the manifest, syncs everything and makes it read-only. */
async function finish(options: FinishOptions): Promise<Manifest> {
  const { name, version, inputsKey, accelerator, guest, frozen, staging, qemu } = options;
  const files = {
    ram: frozen.ram,
    state: frozen.state,
    disk: await digestFile(staging.disk),
    helper: await digestFile(staging.helper),
  };
  const content = {
    name,
    version,
    createdAt: new Date().toISOString(),
    inputsKey,
    qemu: { version: qemu.version, build: qemu.build },
    machine: MACHINE_TYPE,
    accelerator,
    cpuModel: cpuModelFor(accelerator),
    devices: [...frozen.devices],
    guest: structuredClone(guest) as Manifest["guest"],
    memory: frozen.memory,
    diskSizeBytes: await qcow2VirtualSize(staging.disk),
    files,
  };
  {
    await using manifest = await open(staging.manifest, "wx", 0o400);
    await manifest.writeFile(serializeManifest(content));
    await manifest.sync();
  }
  for (const file of [staging.ram, staging.state, staging.disk, staging.helper]) {
    await using handle = await open(file, "r");
    await handle.sync();
    await chmod(file, 0o400);
  }
  return { formatVersion: FORMAT_VERSION, ...content };
}

async function inputsKeyOf(recipe: Recipe, qemu: QemuBinary, accelerator: Accelerator): Promise<string> {
  const inputs = [
    BUILD_REVISION,
    await recipe.inputsKey(),
    qemu.build,
    MACHINE_TYPE,
    accelerator,
    cpuModelFor(accelerator),
  ];
  return createHash("sha256").update(JSON.stringify(inputs)).digest("hex").slice(0, 16);
}
