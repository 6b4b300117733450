import { open, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { withDeadline } from "../core/index.ts";
import { createOverlay, QemuInstance } from "../host/index.ts";
import { CarriedHelper, type HelperChannel, ResidentHelper } from "../netcfg/index.ts";
import { GuestAgent } from "../qmp/index.ts";
import { type LoadedSubstrate, machineConfig } from "../substrate/index.ts";
import type { ChannelKind, CloneDependencies } from "./dependencies.ts";
import type { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";

/** Loading takes 10-30 ms; an empty or hanging stream would otherwise keep QEMU in `inmigrate` for ever. */
const LOAD_TIMEOUT_MS = 5000;
const LOAD_POLL_MS = 1;
const CONNECT_TIMEOUT_MS = 5000;

/** A clone that has its substrate's state and has not run yet. Disposing ends it and removes its folders. */
export interface RestoredClone extends AsyncDisposable {
  readonly instance: QemuInstance;
  readonly agent: GuestAgent;
  readonly helper: HelperChannel;
}

/**
 * Overlay, spawn with private RAM, load of the device state. On failure nothing is left.
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
): Promise<RestoredClone> {
  const { manifest } = substrate;
  const paths = deps.paths.vm(plan.id);
  const { state, disk, helper: helperProgram } = substrate.substrate.paths;
  await using undo = new AsyncDisposableStack();

  await substrate.requireUntouched();
  undo.defer(() => QemuInstance.removeFolders(paths));
  await QemuInstance.prepareFolders(paths);
  await createOverlay(paths.overlay, disk, manifest.diskSizeBytes);
  await using stateFile = await open(state, "r");
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
    incoming: true,
  });
  const instance = undo.use(await QemuInstance.launch({ ...deps, config, paths, signal, inheritFds: [stateFile.fd] }));
  clock.mark("spawn");

  // Connected before the guest runs: its agent sleeps 100 ms whenever it finds nobody at the other end of its port.
  const connect = { timeoutMs: CONNECT_TIMEOUT_MS, signal };
  const agent = undo.use(await GuestAgent.connect(paths.agent, connect));
  const helper = undo.use(
    channel === "helper"
      ? await ResidentHelper.connect(paths.helper, connect)
      : new CarriedHelper(agent, await readFile(helperProgram)),
  );
  await load(instance, signal);
  clock.mark("load");
  const owned = undo.move();
  return { instance, agent, helper, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** The first descriptor after stdin, stdout and stderr. */
const INHERITED_FD = 3;

async function load(instance: QemuInstance, signal: AbortSignal): Promise<void> {
  const { qmp, process } = instance;
  const loading = withDeadline(
    { what: "load of the device state", timeoutMs: LOAD_TIMEOUT_MS, signal },
    async (inner) => {
      const capabilities = [{ capability: "x-ignore-shared", state: true }];
      await qmp.execute("migrate-set-capabilities", { capabilities }, { signal: inner });
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
