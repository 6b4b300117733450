import { isVmSubstrateError, MIB, VmSubstrateError, validate, withDeadlineAndUndo } from "../core/index.ts";
import {
  dropUnusedMemory,
  machineMemoryMiB,
  type RemovableModule,
  removableModules,
  unplugModule,
} from "../host/index.ts";
import type { HelperChannel } from "../netcfg/index.ts";
import type { Clone } from "./clone.ts";
import { type ShrinkRequest, shrinkSchema } from "./vm-options.ts";

/** The helper itself gives up after 10 s. */
const SWITCH_OFF_TIMEOUT_MS = 20_000;

/** It has so much now, which is to be remembered; also where an earlier call was cut off before it was. */
type OnMemory = (memoryMiB: number) => Promise<void>;

/** `Vm.shrink`. Settles when no more memory is taken away. */
export async function shrinking(clone: Clone, request: ShrinkRequest, onMemory: OnMemory): Promise<void> {
  const { memoryMiB, timeoutMs, signal } = validate(shrinkSchema, request, "shrink");
  const shrink = (within: AbortSignal) => shrinkMemory(clone, memoryMiB, onMemory, within);
  const options = { what: "shrink", timeoutMs, signal };
  await clone.instance.process.guard(
    "shrink",
    withDeadlineAndUndo(options, shrink, async () => {}),
  );
}

/**
 * Takes away memory that was added at the claim, while the guest runs: module by module, each first switched off by the guest, which
 * moves what programs have there. What was taken by then stays taken, whatever fails.
 *
 * @throws VmSubstrateError MEMORY_IN_USE, GUEST_HELPER_FAILED, QMP_*, TIMEOUT, ABORTED
 */
async function shrinkMemory(
  { instance: { qmp }, guest }: Clone,
  memoryMiB: number,
  onMemory: OnMemory,
  signal: AbortSignal,
): Promise<void> {
  await dropUnusedMemory(qmp, signal); // that an earlier call gave up
  let has = await machineMemoryMiB(qmp, signal);
  await onMemory(has);
  try {
    for (const module of fitting(await removableModules(qmp, signal), has - memoryMiB)) {
      await switchOff(guest.helper, module, signal);
      if (!(await unplugModule(qmp, module, signal))) throw inUse(module, "it switched it off, and did not let it go");
      has -= module.sizeMiB;
      await onMemory(has);
    }
  } catch (error) {
    void switchOn(guest.helper); // in its time: the guest may still be moving what its programs have
    throw error;
  }
}

/** Of all choices that leave enough the one that leaves least; fewer than a handful are to choose from. */
export function fitting(modules: readonly RemovableModule[], excessMiB: number): RemovableModule[] {
  const [first, ...others] = modules;
  if (first === undefined) return [];
  const without = fitting(others, excessMiB);
  if (first.sizeMiB > excessMiB) return without;
  const within = [first, ...fitting(others, excessMiB - first.sizeMiB)];
  return sizeOf(within) >= sizeOf(without) ? within : without;
}

function sizeOf(modules: readonly RemovableModule[]): number {
  return modules.reduce((sum, { sizeMiB }) => sum + sizeMiB, 0);
}

async function switchOff(helper: HelperChannel, module: RemovableModule, signal: AbortSignal): Promise<void> {
  const bytes = module.sizeMiB * MIB;
  const request = { name: "offline", value: `${module.address},${bytes}` } as const;
  const within = { timeoutMs: SWITCH_OFF_TIMEOUT_MS, signal };
  const [answer] = await helper.request([request], within).catch((error: unknown) => {
    if (isVmSubstrateError(error, "GUEST_HELPER_FAILED")) throw inUse(module, error.message, error);
    throw error;
  });
  if (answer !== String(bytes)) throw inUse(module, "it switched a part of it off");
}

/** All memory that is there. A guest that cannot do that either has less, which is its own. */
async function switchOn(helper: HelperChannel): Promise<void> {
  await helper.request([{ name: "memory", value: "" }], { timeoutMs: SWITCH_OFF_TIMEOUT_MS }).catch(() => {});
}

function inUse({ sizeMiB }: RemovableModule, why: string, cause?: unknown): VmSubstrateError {
  const message = `the guest keeps ${sizeMiB} MiB of its memory: ${why}; end programs in it, or ask for less`;
  return new VmSubstrateError("MEMORY_IN_USE", message, { cause, details: { sizeMiB } });
}
