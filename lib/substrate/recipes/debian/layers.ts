import { createHash } from "node:crypto";
import { link, mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { newId } from "../../../core/index.ts";
import { createOverlay, qcow2VirtualSize, type RecipePaths, runTool } from "../../../host/index.ts";
import { BootedGuest } from "../../boot.ts";
import { awaitReady } from "../../ready/index.ts";
import type { GuestProfile, RecipeContext } from "../../recipe.ts";
import type { Step } from "./steps.ts";

const READY_TIMEOUT_MS = 180_000;
const DISK_TIMEOUT_MS = 120_000;
const DISK_NODE = "disk0";

/** A qcow2 for each step, on the one of the step before it: a changed step makes anew itself and those after it, no more. */
export interface Layer {
  readonly step: Step;
  readonly file: string;
}

/** Where each step's layer is, or will be: named by all that went into it. */
export function layersOf(steps: readonly Step[], baseKey: string, dir: string): Layer[] {
  let key = baseKey;
  return steps.map((step) => {
    key = createHash("sha256").update(`${key} ${step.key}`).digest("hex").slice(0, 16);
    return { step, file: join(dir, `${key}.qcow2`) };
  });
}

/**
 * Makes the layers that are missing, in one boot: a step is applied, the file system frozen for an instant, and what was
 * written up to then becomes the layer. Source: QEMU's QMP reference, blockdev-snapshot-sync.
 *
 * They are shared with other processes, which may make the same ones at the same time. Theirs and ours hold the same files in other
 * places: whoever is second keeps its own for itself, as well as what lies on it.
 *
 * @returns the uppermost one
 * @throws VmSubstrateError BUILD_FAILED, INSUFFICIENT_*, QEMU_*, TIMEOUT, ABORTED
 */
export async function makeLayers(
  layers: readonly Layer[],
  base: RecipePaths,
  guest: GuestProfile,
  context: RecipeContext,
): Promise<string> {
  const made = (await areThere(layers)).indexOf(false);
  if (made < 0) return layers.at(-1)?.file ?? base.disk;
  const missing = layers.slice(made);
  const lowest = layers[made - 1]?.file ?? base.disk;
  await mkdir(dirname(layers[made]?.file ?? ""), { recursive: true, mode: 0o700 });
  const staging = [...missing, undefined].map(() => join(context.workDir, `${newId()}.qcow2`));
  const [first = ""] = staging;
  await createOverlay(first, lowest, await qcow2VirtualSize(lowest));
  await applySteps(missing, staging, base, guest, context);
  let below = lowest;
  // A layer without the one below it is on another one that is gone: it must not find ours in that place.
  let isFirst = !(await areThere(missing)).includes(true);
  for (const [i, { file }] of missing.entries()) {
    const top = staging[i] ?? "";
    // Their names change, not their content: the header is written anew, unchecked.
    await runTool(["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below, top], {
      timeoutMs: DISK_TIMEOUT_MS,
      signal: context.signal,
    });
    if (isFirst) isFirst = await show(top, file);
    below = isFirst ? file : top;
  }
  return below;
}

/** @returns whether there was none; what is there stays, since others may have begun to build on it */
async function show(made: string, file: string): Promise<boolean> {
  try {
    await link(made, file);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

async function applySteps(
  missing: readonly Layer[],
  staging: readonly string[],
  base: RecipePaths,
  guest: GuestProfile,
  context: RecipeContext,
): Promise<void> {
  const { progress, signal } = context;
  const kernel = { image: base.kernel, initrd: base.initrd, commandLine: `${guest.kernelCommandLine} lasting=1` };
  const disk = staging[0] ?? "";
  await using booted = await BootedGuest.boot({ guest, kernel, disk, accelerator: context.accelerator }, context);
  const { channels, instance } = booted;
  const within = { timeoutMs: READY_TIMEOUT_MS, signal };
  const applying = async () => {
    await awaitReady([{ probe: "helper" }, { probe: "agent" }, { probe: "system" }], channels, within);
    for (const [i, { step }] of missing.entries()) {
      progress("step", step.name);
      await step.apply(channels, signal);
      await channels.agent.execute("guest-fsfreeze-freeze", {}, within);
      const snapshot = { "node-name": i === 0 ? DISK_NODE : `layer${i}`, format: "qcow2", mode: "absolute-paths" };
      const above = { "snapshot-file": staging[i + 1], "snapshot-node-name": `layer${i + 1}` };
      await instance.qmp.execute("blockdev-snapshot-sync", { ...snapshot, ...above }, within);
      await channels.agent.execute("guest-fsfreeze-thaw", {}, within);
    }
  };
  await booted.during(applying(), signal);
  await instance.process.terminate();
}

async function areThere(layers: readonly Layer[]): Promise<boolean[]> {
  return Promise.all(
    layers.map(({ file }) =>
      stat(file).then(
        () => true,
        () => false,
      ),
    ),
  );
}
