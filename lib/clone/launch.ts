import { rm } from "node:fs/promises";
import { isVmSubstrateError } from "../core/index.ts";
import { createOverlay, QemuInstance } from "../host/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import { channelTo } from "./channel.ts";
import { Clone } from "./clone.ts";
import { cloneConfig } from "./clone-config.ts";
import type { ChannelKind, CloneDependencies } from "./dependencies.ts";
import { GuestLink } from "./guest-link.ts";
import { loadState } from "./load-state.ts";
import type { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";
import type { Forkable } from "./zygote-source.ts";

type Names = Pick<ClonePlan, "id" | "uuid">;

/**
 * A clone that is paused: forked from its substrate's zygote where there is one, else loaded from its files. On failure nothing
 * is left.
 *
 * @throws VmSubstrateError SUBSTRATE_CORRUPT, SUBSTRATE_INCOMPATIBLE, QEMU_EXITED, QEMU_MISSING, TIMEOUT, ABORTED
 */
export async function launchClone(
  plan: Names,
  substrate: LoadedSubstrate,
  asked: ChannelKind,
  deps: CloneDependencies,
  clock: PhaseClock,
  signal: AbortSignal,
): Promise<Clone> {
  const { failpoint } = deps;
  const paths = deps.paths.vm(plan.id);
  const channel = channelTo(substrate.manifest, asked);
  await using undo = new AsyncDisposableStack();

  failpoint("launch.intended");
  await substrate.requireUntouched();
  undo.defer(() => QemuInstance.removeFolders(paths));
  await QemuInstance.prepareFolders(paths);
  failpoint("launch.folders");
  // What a zygote has warmed is the way by the helper.
  const zygote = channel === "helper" ? deps.zygotes?.of(substrate) : undefined;
  const forked = zygote && (await forkFrom(zygote, plan, deps, clock, signal));
  if (forked !== undefined) failpoint("launch.overlay");
  const instance = undo.use(forked ?? (await startLoading(plan, substrate, deps, clock, signal)));
  failpoint("launch.spawned");
  clock.mark("spawn");

  const helperProgram = substrate.substrate.paths.helper;
  const guest = undo.use(await GuestLink.connect({ paths, channel, helperProgram }));
  failpoint("launch.connected");
  if (forked === undefined) await loadState(instance, signal);
  failpoint("launch.loaded");
  clock.mark("load");
  return new Clone(instance, guest, undo.move(), forked !== undefined);
}

/** Overlay, and a QEMU with private RAM that waits for the device state. */
async function startLoading(
  plan: Names,
  substrate: LoadedSubstrate,
  deps: CloneDependencies,
  clock: PhaseClock,
  signal: AbortSignal,
): Promise<QemuInstance> {
  const paths = deps.paths.vm(plan.id);
  const { disk, state } = substrate.substrate.paths;
  await createOverlay(paths.overlay, disk, substrate.manifest.diskSizeBytes);
  deps.failpoint("launch.overlay");
  clock.mark("overlay");
  const config = cloneConfig(plan, substrate, paths);
  return QemuInstance.launch({ ...deps, config, paths, signal, inheritFiles: [state] });
}

/** @returns undefined where the zygote would not do; it is not asked again then, and nothing of it is left */
async function forkFrom(
  zygote: Forkable,
  plan: Names,
  deps: CloneDependencies,
  clock: PhaseClock,
  signal: AbortSignal,
): Promise<QemuInstance | undefined> {
  const paths = deps.paths.vm(plan.id);
  try {
    await zygote.copyDisk(paths.overlay);
    clock.mark("overlay");
    return await zygote.fork(plan, paths, signal);
  } catch (error) {
    const isAbort = signal.aborted && (error === signal.reason || isVmSubstrateError(error, "ABORTED"));
    if (!isAbort) deps.zygotes?.failed(zygote, error);
    signal.throwIfAborted();
    await rm(paths.overlay, { force: true });
    return undefined;
  }
}
