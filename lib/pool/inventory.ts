import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { OnFailpoint } from "../clone/index.ts";
import { endProcess, findProcesses, type Paths } from "../host/index.ts";
import type { LeaseBook } from "../netcfg/index.ts";
import type { CacheReport } from "../substrate/index.ts";
import type { VmLedger } from "./vm-ledger.ts";
import type { VmOwners } from "./vm-owners.ts";

export interface InventoryDependencies {
  readonly paths: Paths;
  readonly ledger: VmLedger;
  readonly leases: LeaseBook;
  readonly owners: VmOwners;
  /** Names of files on the tmpfs that belong to somebody. */
  readonly ramFiles: ReadonlySet<string>;
  /** Whether anything of this process works with a clone: it is handed out, docked, or being made or ended. */
  readonly isAlive: (id: string) => boolean;
  readonly failpoint: OnFailpoint;
}

/** What was nobody's and was taken away: ids, file names. */
export interface Leftovers {
  readonly processes: readonly string[];
  readonly folders: readonly string[];
  readonly sharedMemory: readonly string[];
  readonly records: readonly string[];
  readonly leases: readonly string[];
}

/** What a collection has taken away. */
export interface GcReport extends Leftovers {
  /** What builds keep for later ones, and none has needed for long. */
  readonly cache: CacheReport;
}

/**
 * Compares everything that there is (processes, folders, sockets, RAM files, records, leases) with what this process works
 * with, and takes the rest away. Level-triggered: it does not matter how things came to be as they are.
 */
export async function collectGarbage(deps: InventoryDependencies): Promise<Leftovers> {
  const { paths, ledger, leases, owners, isAlive, failpoint } = deps;
  const unknown = (id: string) => !isAlive(id);
  const found = await findProcesses(paths);
  failpoint("gc.listed");

  const processes: string[] = [];
  // Ours may have ended since they were found; then they are unknown by now, and gone.
  for (const process of found) if (unknown(process.id) && (await endProcess(process))) processes.push(process.id);
  failpoint("gc.ended");

  const folders: string[] = [];
  for (const dir of [paths.vms, paths.runtimeDir]) {
    for (const id of await readdir(dir)) {
      if (!unknown(id) || join(dir, id) === paths.daemonSocket) continue;
      await rm(join(dir, id), { recursive: true, force: true });
      folders.push(id);
    }
  }
  const sharedMemory: string[] = [];
  for (const name of await readdir(paths.sharedMemoryDir)) {
    const [id = ""] = name.split(".");
    if (deps.ramFiles.has(name) || !unknown(id)) continue;
    await rm(join(paths.sharedMemoryDir, name), { force: true });
    sharedMemory.push(name);
  }

  const records = ledger.records.map(({ id }) => id).filter((id) => !isAlive(id));
  for (const id of records) await owners.forget(id);
  const ownerless = leases.owners().filter(unknown);
  if (ownerless.length > 0) await ledger.commit({ changes: ownerless.map((id) => leases.release(id)) });
  return {
    processes,
    folders: [...new Set(folders)],
    sharedMemory,
    records,
    leases: ownerless,
  };
}
