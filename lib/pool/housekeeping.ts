import { hostFailure } from "../core/index.ts";
import { collectBuildCache } from "../substrate/index.ts";
import type { GcCall } from "./gc-call.ts";
import { collectGarbage, type GcReport, type Leftovers } from "./inventory.ts";
import type { PoolParts } from "./pool-parts.ts";
import { recover } from "./recovery.ts";

/** Puts a state directory in order as it is opened: VMs that were handed out are taken over, all else is cleared away. */
export async function takeOver(parts: PoolParts): Promise<void> {
  const { deps, state, owners, catalog } = parts;
  const { vms, lost, removed } = await recover({ ...deps, ...state, owners });
  for (const vm of vms) parts.vms.takeOver(vm);
  const { logger } = deps;
  if (vms.length > 0) logger.info({ vms: vms.length }, "took over VMs of an earlier owner");
  if (removed > 0) logger.warn({ clones: removed }, "ended clones that an earlier owner had not handed out");
  if (lost.length > 0) logger.warn({ vms: lost.map(({ id }) => id) }, "VMs have ended while nobody owned them");
  await catalog.removeAbandoned();
  await clearAway(parts);
  for (const { id } of vms) parts.flattening.look(id);
}

/** Takes away whatever this pool does not work with. */
async function clearAway({ deps, state, owners, substrates, vms, working, instants }: PoolParts): Promise<Leftovers> {
  const report = await collectGarbage({
    ...deps,
    ...state,
    owners,
    ramFiles: await substrates.ramFiles(),
    isAlive: (id) => vms.has(id) || working.has(id),
  });
  return { ...report, folders: [...report.folders, ...(await instants.sweep())] };
}

/**
 * Clears away, also in the cache of builds. Only while this pool builds nothing.
 * @throws VmSubstrateError HOST_IO_FAILED, UNSAFE_DIRECTORY, STATE_DIR_DAMAGED, STORE_UNWRITABLE
 */
export async function collect(parts: PoolParts, limits: GcCall): Promise<GcReport> {
  const leftovers = await clearAway(parts);
  const cache = await collectBuildCache(parts.deps.paths, { ...limits, nowMs: Date.now() }).catch((error: unknown) => {
    throw hostFailure(error) ?? error;
  });
  return { ...leftovers, cache };
}
