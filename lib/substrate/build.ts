import { createHash } from "node:crypto";
import { chmod, copyFile, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { isVmSubstrateError, type Logger, MIB, newId, throwIfAborted } from "../core/index.ts";
import {
  type Accelerator,
  cpuModelFor,
  decideAccelerator,
  knownVerdict,
  type Paths,
  type QemuBinary,
  qcow2VirtualSize,
  type RecipePaths,
  type SubstratePaths,
} from "../host/index.ts";
import { BootedGuest } from "./boot.ts";
import { bootedBy, bootFilesOf } from "./boot-files.ts";
import { Catalog, type Substrate } from "./catalog.ts";
import { freeze } from "./freeze.ts";
import {
  type Generalized,
  generalize,
  miniaturize,
  reopenJournal,
  requireGeneral,
  servicesToTell,
  usedMemoryBytes,
  warmUp,
} from "./generalize/index.ts";
import { deviceArguments, guestFor, MACHINE_TYPE } from "./machine.ts";
import { FORMAT_VERSION, type Manifest, serializeManifest } from "./manifest.ts";
import { prepareGuest } from "./prepared-guest.ts";
import type { Progress } from "./progress.ts";
import { awaitReady, probeName } from "./ready/index.ts";
import type { GuestProfile, Recipe } from "./recipe.ts";
import { miniRecipe } from "./recipes/mini.ts";
import { copySparse, digestFile } from "./sparse-file.ts";

/** Counts up when what a build does to a guest changes: substrates of before are then made anew. */
const BUILD_REVISION = 6;
/** A cold boot takes 3 to 4 s under TCG when idle. */
const READY_TIMEOUT_MS = 90_000;
const STEP_TIMEOUT_MS = 30_000;

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
  const whilePreparing = deps.accelerator ?? (await knownVerdict(qemu, paths.acceleratorVerdict))?.accelerator ?? "tcg";
  const preparing = { ...deps, accelerator: whilePreparing };
  const guestFiles = await prepareGuest(recipe, preparing);
  progress("accelerator", deps.accelerator ?? "deciding whether KVM really works");
  const decide = async () => {
    // A guest that boots from its disk has no kernel to try: that of `mini` stands in.
    const canary = recipe.guest.firmware === undefined ? guestFiles : await prepareGuest(miniRecipe, preparing);
    return decideAccelerator(qemu, canary, paths.acceleratorVerdict, { signal, logger });
  };
  const known = deps.accelerator ?? (await knownVerdict(qemu, paths.acceleratorVerdict))?.accelerator;
  const accelerator = known ?? (await decide()).accelerator;
  if (accelerator === "tcg")
    logger.warn({ recipe: recipe.guest.recipe }, "TCG: slower, and no isolation from a hostile guest");
  const inputsKey = await inputsKeyOf(recipe, qemu, accelerator);
  const catalog = new Catalog(paths);
  const present = await catalog.find(name).catch((error: unknown) => {
    if (isVmSubstrateError(error, "SUBSTRATE_CORRUPT")) return undefined; // building anew is the way out
    throw error;
  });
  if (deps.reuse && present?.manifest.inputsKey === inputsKey) {
    progress("done", `${name} ${present.manifest.version} is up to date`);
    return { substrate: present, reused: true };
  }

  const version = ((await catalog.versions(name))[0] ?? 0) + 1;
  const staging = paths.substrateStaging(name, newId());
  try {
    await mkdir(staging.dir, { recursive: true, mode: 0o700 });
    for (const file of ["helper", ...bootFilesOf(recipe.guest)] as const)
      await copyFile(guestFiles[file], staging[file]);
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
  readonly tell: readonly (readonly string[])[];
  readonly generalized: readonly Generalized[];
}

async function bootAndFreeze(
  guest: GuestProfile,
  guestFiles: RecipePaths,
  staging: SubstratePaths,
  accelerator: Accelerator,
  deps: BuildDependencies,
): Promise<Frozen> {
  const { progress, signal } = deps;
  await copyFile(guestFiles.disk, staging.disk);
  progress("boot", `${guest.memoryMiB} MiB, ${accelerator}`);
  const { disk, helper: helperProgram } = staging;
  const booting = { guest, ...bootedBy(guest, staging), disk, accelerator, helperProgram };
  await using booted = await BootedGuest.boot(booting, deps);
  const { channels, instance } = booted;
  const freezing = async () => {
    progress("ready", guest.ready.map(probeName).join(", "));
    await awaitReady(guest.ready, channels, { timeoutMs: READY_TIMEOUT_MS, signal });
    const step = { timeoutMs: STEP_TIMEOUT_MS, signal };
    const tell = await servicesToTell(channels.agent, step);
    const generalized = await generalize(channels, guest, step);
    progress(
      "generalize",
      generalized.map(({ trace, files }) => `${trace} (${files})`).join(", ") || "nothing to remove",
    );
    progress("miniaturize", "free disk blocks, caches, free memory");
    await warmUp(channels, guest, step); // empties the identity's files, which the check wants
    await requireGeneral(channels, guest, step);
    await reopenJournal(channels.agent, step);
    await miniaturize(channels, guest, step);
    const usedBytes = await usedMemoryBytes(channels, step);
    progress("freeze", "RAM, device state and disk in one pause");
    const state = await freeze(instance, staging.state, signal);
    return { state, usedBytes, tell, generalized };
  };
  const { state, usedBytes, ...found } = await booted.during(freezing(), signal);
  await instance.process.terminate();
  const { residentBytes, ...ram } = await copySparse(booted.ram, staging.ram, signal);
  const memory = { assignedBytes: guest.memoryMiB * MIB, usedBytes, residentBytes };
  return { ram, state, devices: deviceArguments(booted.config), memory, ...found };
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
  const files: Manifest["files"] = {
    ram: frozen.ram,
    state: frozen.state,
    disk: await digestFile(staging.disk),
    helper: await digestFile(staging.helper),
  };
  const bootFiles = bootFilesOf(guest);
  for (const file of bootFiles) files[file] = await digestFile(staging[file]);
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
    tell: frozen.tell.map((argv) => [...argv]),
    generalized: structuredClone(frozen.generalized) as Manifest["generalized"],
    diskSizeBytes: await qcow2VirtualSize(staging.disk),
    files,
  };
  {
    await using manifest = await open(staging.manifest, "wx", 0o400);
    await manifest.writeFile(serializeManifest(content));
    await manifest.sync();
  }
  for (const file of ["ram", "state", "disk", "helper", ...bootFiles] as const) {
    await using handle = await open(staging[file], "r");
    await handle.sync();
    await chmod(staging[file], 0o400);
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
