import { setTimeout as delay } from "node:timers/promises";
import { withDeadline } from "../core/index.ts";
import { createOverlay, QemuInstance } from "../host/index.ts";
import { clonesFirmware, type LoadedSubstrate, machineConfig } from "../substrate/index.ts";
import { channelTo } from "./channel.ts";
import { Clone } from "./clone.ts";
import type { ChannelKind, CloneDependencies } from "./dependencies.ts";
import { GuestLink } from "./guest-link.ts";
import type { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";

/** Loading takes 10-30 ms; an empty or hanging stream would otherwise keep QEMU in `inmigrate` for ever. */
const LOAD_TIMEOUT_MS = 5000;
const LOAD_POLL_MS = 1;

/**
 * Overlay, spawn with private RAM, load of the device state. The clone has not run when this is done. On failure nothing is
 * left.
 *
 * @throws VmSubstrateError SUBSTRATE_CORRUPT, SUBSTRATE_INCOMPATIBLE, QEMU_EXITED, QEMU_MISSING, TIMEOUT, ABORTED
 */
export async function launchClone(
  plan: Pick<ClonePlan, "id" | "uuid">,
  substrate: LoadedSubstrate,
  channel: ChannelKind,
  deps: CloneDependencies,
  clock: PhaseClock,
  signal: AbortSignal,
): Promise<Clone> {
  const { manifest } = substrate;
  const { failpoint } = deps;
  const paths = deps.paths.vm(plan.id);
  const { state, disk, helper: helperProgram } = substrate.substrate.paths;
  await using undo = new AsyncDisposableStack();

  failpoint("launch.intended");
  await substrate.requireUntouched();
  undo.defer(() => QemuInstance.removeFolders(paths));
  await QemuInstance.prepareFolders(paths);
  failpoint("launch.folders");
  await createOverlay(paths.overlay, disk, manifest.diskSizeBytes);
  failpoint("launch.overlay");
  clock.mark("overlay");

  const config = machineConfig({
    id: plan.id,
    uuid: plan.uuid,
    accelerator: manifest.accelerator,
    cpuModel: manifest.cpuModel,
    guest: manifest.guest,
    paths,
    ram: { file: substrate.ramFile, share: false },
    disk: { file: paths.overlay, backingFile: disk },
    ...clonesFirmware(manifest.files),
    incoming: true,
  });
  const instance = undo.use(await QemuInstance.launch({ ...deps, config, paths, signal, inheritFiles: [state] }));
  failpoint("launch.spawned");
  clock.mark("spawn");

  const guest = undo.use(await GuestLink.connect({ paths, channel: channelTo(manifest, channel), helperProgram }));
  failpoint("launch.connected");
  await load(instance, signal);
  failpoint("launch.loaded");
  clock.mark("load");
  return new Clone(instance, guest, undo.move());
}

/** The first descriptor after stdin, stdout and stderr. */
const INHERITED_FD = 3;

async function load(instance: QemuInstance, signal: AbortSignal): Promise<void> {
  const { qmp, process } = instance;
  const loading = withDeadline(
    { what: "load of the device state", timeoutMs: LOAD_TIMEOUT_MS, signal },
    async (inner) => {
      const capabilities = [{ capability: "x-ignore-shared", state: true }];
      await Promise.all([
        qmp.execute("migrate-set-capabilities", { capabilities }, { signal: inner }),
        // After a load QEMU has the guest announce itself, and does so too; a clone has nothing to announce yet.
        qmp.execute("migrate-set-parameters", { "announce-rounds": 0 }, { signal: inner }),
      ]);
      await qmp.execute("migrate-incoming", { uri: `fd:${INHERITED_FD}` }, { signal: inner });
      for (;;) {
        const { status } = await qmp.execute("query-status", {}, { signal: inner });
        if (status !== "inmigrate") return;
        await delay(LOAD_POLL_MS, undefined, { signal: inner });
      }
    },
  );
  await process.guard("load of the device state", loading);
}
