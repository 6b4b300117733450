import { MIB, VmSubstrateError } from "../core/index.ts";
import type { Manifest } from "../substrate/index.ts";

/** What a VM has of its machine. */
export interface Resources {
  /** Processors. */
  readonly cpus: number;
  readonly memoryMiB: number;
  /** The disk's size; what the VM takes of this machine's disk is what it has written. */
  readonly diskMiB: number;
}

/** What of it is asked for; the rest is as the substrate was frozen. */
export type ResourcesRequest = { readonly [Name in keyof Resources]?: number | undefined };

/** What has to be added to a clone so that it has the resources that were asked for. */
export interface Growth {
  /** What it has then. */
  readonly resources: Resources;
  readonly addedCpus: number;
  /** The sizes of the modules that are plugged in for good, in order: the guest's kernel may put its own data there. */
  readonly lastingMiB: readonly number[];
  /** Those that can be taken away again (`Vm.shrink`): the guest keeps only what programs have there. */
  readonly removableMiB: readonly number[];
  /** The disk's new size, if it is another. */
  readonly diskBytes: number | undefined;
}

/** Linux takes memory in and lets it go by blocks of this size. Source: arch/x86/mm/init_64.c, MIN_MEMORY_BLOCK_SIZE. */
export const MEMORY_BLOCK_MIB = 128;
/**
 * A module is at most so many times larger than what was plugged in before it. The kernel describes each page in 64 bytes,
 * a 64th, and needs them before it has the memory: a small guest has no room for a large module's, but a first, small
 * module has.
 */
const MODULE_STEP = 32;
const FIRST_MODULE_MIB = 512;
/**
 * Memory that can be taken away again holds nothing of the kernel's own, which therefore needs so large a part elsewhere. As for
 * the kernel when it decides itself: Documentation/admin-guide/mm/memory-hotplug.rst, auto_movable_ratio.
 */
const LASTING_PART = 1 / 4;
/** More of them leave finer steps to shrink by, and each takes time at the claim. */
const REMOVABLE_MODULES = 2;

/** What a clone has that nothing was added to. */
export function frozenResources({ guest, diskSizeBytes }: Manifest): Resources {
  return { cpus: guest.cpus, memoryMiB: guest.memoryMiB, diskMiB: diskSizeBytes / MIB };
}

/**
 * Pure: what a substrate's clone needs. Memory is rounded up to whole blocks beyond what was frozen.
 *
 * @returns undefined when nothing has to be added
 * @throws VmSubstrateError RESOURCES_OUT_OF_REACH naming what can be reached
 */
export function planGrowth(asked: ResourcesRequest, manifest: Manifest): Growth | undefined {
  const frozen = frozenResources(manifest);
  const { growth } = manifest.guest;
  const reach: Resources = {
    cpus: growth?.maxCpus ?? frozen.cpus,
    memoryMiB: growth?.maxMemoryMiB ?? frozen.memoryMiB,
    diskMiB: growth?.disk?.maxDiskMiB ?? frozen.diskMiB,
  };
  const wanted = { ...frozen };
  for (const name of ["cpus", "memoryMiB", "diskMiB"] as const) {
    wanted[name] = within(name, asked[name] ?? frozen[name], frozen[name], reach[name], manifest);
  }
  const blocks = blocksOf(wanted.memoryMiB - frozen.memoryMiB);
  const addedMiB = blocks * MEMORY_BLOCK_MIB;
  const resources = { ...wanted, memoryMiB: frozen.memoryMiB + addedMiB };
  // The maximum of a recipe need not be a whole number of blocks away.
  within("memoryMiB", resources.memoryMiB, frozen.memoryMiB, reach.memoryMiB, manifest);
  const diskBytes = resources.diskMiB === frozen.diskMiB ? undefined : resources.diskMiB * MIB;
  const addedCpus = resources.cpus - frozen.cpus;
  if (addedCpus === 0 && addedMiB === 0 && diskBytes === undefined) return undefined;
  const lasting = Math.min(blocks, Math.max(0, blocksOf(LASTING_PART * resources.memoryMiB - frozen.memoryMiB)));
  const lastingMiB = lastingModules(lasting * MEMORY_BLOCK_MIB);
  return { resources, addedCpus, lastingMiB, removableMiB: removableModules(blocks - lasting), diskBytes };
}

/** Memory of the VM's own, beside its substrate's. */
export function addedMemoryMiB({ lastingMiB, removableMiB }: Pick<Growth, "lastingMiB" | "removableMiB">): number {
  return [...lastingMiB, ...removableMiB].reduce((sum, sizeMiB) => sum + sizeMiB, 0);
}

function blocksOf(memoryMiB: number): number {
  return Math.ceil(memoryMiB / MEMORY_BLOCK_MIB);
}

function lastingModules(addedMiB: number): number[] {
  const modules: number[] = [];
  for (let left = addedMiB, before = 0; left > 0; ) {
    const size = Math.min(left, before === 0 ? FIRST_MODULE_MIB : MODULE_STEP * before);
    modules.push(size);
    left -= size;
    before += size;
  }
  return modules;
}

/** Each half of what is left, the last one all of it. */
function removableModules(blocks: number): number[] {
  const modules: number[] = [];
  for (let left = blocks; left > 0; ) {
    const size = modules.length + 1 === REMOVABLE_MODULES ? left : Math.ceil(left / 2);
    modules.push(size * MEMORY_BLOCK_MIB);
    left -= size;
  }
  return modules;
}

function within(name: keyof Resources, asked: number, least: number, most: number, { name: of }: Manifest): number {
  if (asked >= least && asked <= most) return asked;
  const problem = asked < least ? "a VM cannot be smaller than its substrate" : "it was built to reach no more";
  const range = least === most ? `has ${least} and cannot grow` : `has ${least} and can have up to ${most}`;
  throw new VmSubstrateError(
    "RESOURCES_OUT_OF_REACH",
    `resources.${name}: ${asked} was asked for; substrate "${of}" ${range}: ${problem}`,
    { details: { resource: name, asked, minimum: least, maximum: most } },
  );
}
