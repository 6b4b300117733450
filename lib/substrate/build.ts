import { createHash } from "node:crypto";
import { copyFile, mkdir, rm } from "node:fs/promises";
import { isVmSubstrateError, type Logger, newId } from "../core/index.ts";
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
import { useBuildCache } from "./build-cache.ts";
import { Catalog, type Substrate } from "./catalog.ts";
import { requireSteadyClock } from "./clock-rate.ts";
import { requireGrowingDisk } from "./disk-growth.ts";
import { freeze } from "./freeze.ts";
import { prepareToFreeze } from "./generalize/index.ts";
import { deviceArguments, guestFor, MACHINE_TYPE } from "./machine.ts";
import type { Manifest } from "./manifest.ts";
import { prepareGuest } from "./prepared-guest.ts";
import type { Progress } from "./progress.ts";
import { awaitReady, probeName } from "./ready/index.ts";
import type { GuestProfile, Recipe } from "./recipe.ts";
import { miniRecipe } from "./recipes/mini.ts";
import { type Sealed, sealSubstrate } from "./seal.ts";
import { settle } from "./settle.ts";
import { copySparse } from "./sparse-file.ts";

/** Counts up when what a build does to a guest changes: substrates of before are then made anew. */
const BUILD_REVISION = 8;
/** A cold boot takes 3 to 4 s under TCG when idle. */
const READY_TIMEOUT_MS = 90_000;
const STEP_TIMEOUT_MS = 30_000;
/** Of a guest whose clock runs wrong. */
const MAX_BOOTS = 3;

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
  using _ = await useBuildCache(paths, signal);
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

  const version = await catalog.nextVersion(name);
  const staging = paths.substrateStaging(name, newId());
  try {
    await mkdir(staging.dir, { recursive: true, mode: 0o700 });
    for (const file of ["helper", ...bootFilesOf(recipe.guest)] as const)
      await copyFile(guestFiles[file], staging[file]);
    const guest = guestFor(recipe.guest, accelerator);
    const frozen = await withSteadyClock(deps, () => bootAndFreeze(guest, guestFiles, staging, accelerator, deps));
    progress("digest", "SHA-256 of every file");
    const own = { name, version, inputsKey, accelerator, guest: structuredClone(guest) as Manifest["guest"] };
    const substrate = await sealSubstrate({ ...own, ...frozen }, staging, deps);
    progress("done", `${name} ${version}`);
    return { substrate, reused: false };
  } finally {
    await rm(staging.dir, { recursive: true, force: true });
  }
}

type Frozen = Pick<Sealed, "ram" | "state" | "residentBytes" | "devices" | "prepared">;

/** Whether a kernel takes its processor for what it is, is another throw of the dice with each boot. */
async function withSteadyClock<T>({ logger }: BuildDependencies, boot: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await boot();
    } catch (error) {
      if (attempt === MAX_BOOTS || !isVmSubstrateError(error) || error.details.clockRate === undefined) throw error;
      logger.warn({ clockRate: error.details.clockRate }, "the guest's clock runs wrong; it is booted again");
    }
  }
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
    await requireGrowingDisk(channels, guest, await qcow2VirtualSize(staging.disk), step);
    const prepared = await prepareToFreeze(channels, guest, progress, step);
    await requireSteadyClock(channels.helper, step);
    progress("freeze", "RAM, device state and disk in one pause");
    await settle(channels, guest, signal);
    const state = await freeze(instance, staging.state, signal);
    return { state, prepared };
  };
  const { state, prepared } = await booted.during(freezing(), signal);
  await instance.process.terminate();
  const { residentBytes, ...ram } = await copySparse(booted.ram, staging.ram, signal);
  return { ram, state, residentBytes, devices: deviceArguments(booted.config), prepared };
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
