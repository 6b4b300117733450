import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../core/index.ts";
import { killOrphans, type Paths } from "../host/index.ts";
import type { Catalog } from "../substrate/index.ts";

/**
 * Clears what an owner that was killed left behind: QEMU processes, their folders, sockets, RAM files and half-made
 * substrates. Only for the state directory's present owner.
 */
export async function clearLeftovers(paths: Paths, catalog: Catalog, logger: Logger): Promise<void> {
  const pids = await killOrphans(paths.stateDir);
  if (pids.length > 0) logger.warn({ pids }, "ended VMs whose owner died");
  for (const dir of [paths.vms, paths.runtimeDir, paths.sharedMemoryDir]) {
    for (const entry of await readdir(dir)) await rm(join(dir, entry), { recursive: true, force: true });
  }
  await catalog.removeAbandoned();
}
