import { chmod, constants, copyFile, rm } from "node:fs/promises";
import { MIB } from "../core/index.ts";
import { createOverlay, QemuInstance, requireSharedMemory } from "../host/index.ts";
import { awaitReady, bootedBy, type LoadedSubstrate, machineConfig } from "../substrate/index.ts";
import { type ActivateOptions, makePersonal, personalVm } from "./activate.ts";
import { channelTo } from "./channel.ts";
import { Clone } from "./clone.ts";
import type { CloneDependencies } from "./dependencies.ts";
import { GuestLink } from "./guest-link.ts";
import { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";
import type { Vm } from "./vm.ts";

const READY_TIMEOUT_MS = 90_000;

/**
 * The baseline: what one would do without substrates. Boots an overlay of the same disk on the same machine, waits for
 * the same readiness and gives the same identity by the same code. Its `load` phase is the boot.
 */
export async function coldBoot(
  plan: ClonePlan,
  substrate: LoadedSubstrate,
  options: Omit<ActivateOptions, "docked">,
  deps: CloneDependencies,
): Promise<Vm> {
  const { manifest } = substrate;
  const { signal } = options;
  const clock = new PhaseClock(options.startedAt, options.plannedAt);
  const paths = deps.paths.vm(plan.id);
  const ram = deps.paths.buildRam(plan.id);
  const { paths: files } = substrate.substrate;
  const { disk } = files;
  await requireSharedMemory(deps.paths.sharedMemoryRoot, manifest.guest.memoryMiB * MIB, "a cold boot");
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(ram, { force: true }));
  undo.defer(() => QemuInstance.removeFolders(paths));
  await QemuInstance.prepareFolders(paths);
  await createOverlay(paths.overlay, disk, manifest.diskSizeBytes);
  if (manifest.guest.firmware === "uefi") await copyWritable(files.firmwareVars, paths.firmwareVars);
  clock.mark("overlay");

  const config = machineConfig({
    id: plan.id,
    uuid: plan.uuid,
    accelerator: manifest.accelerator,
    cpuModel: manifest.cpuModel,
    guest: manifest.guest,
    paths,
    ram: { file: ram, share: true },
    disk: { file: paths.overlay, backingFile: disk },
    ...bootedBy(manifest.guest, { ...files, firmwareVars: paths.firmwareVars }),
  });
  const instance = undo.use(await QemuInstance.launch({ ...deps, config, paths, signal }));
  clock.mark("spawn");

  const guest = undo.use(
    await GuestLink.connect({ paths, channel: channelTo(manifest, "helper"), helperProgram: files.helper }),
  );
  const clone = new Clone(instance, guest, undo.move());
  const booting = async () => {
    await awaitReady(
      manifest.guest.ready,
      { agent: await guest.agent(), helper: guest.helper },
      { timeoutMs: READY_TIMEOUT_MS, signal },
    );
    clock.mark("load");
    await makePersonal(clone, plan, manifest, {
      ...options,
      isPaused: false,
      hasIdentity: false,
      clock,
      ...deps,
    });
  };
  try {
    await instance.process.guard("boot", booting());
  } catch (error) {
    await clone[Symbol.asyncDispose]();
    throw error;
  }
  return personalVm(plan, substrate, clone, "booted", clock, options, deps);
}

async function copyWritable(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL);
  await chmod(to, 0o600);
}
