import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { type Directories, Paths, processStartTime } from "../../lib/host/index.ts";

/** What a collection answers where all is in order. */
export const NOTHING_COLLECTED = {
  processes: [],
  folders: [],
  sharedMemory: [],
  records: [],
  leases: [],
  cache: { removed: [], freedBytes: 0, leftBytes: expect.any(Number), busy: false },
};

export interface NothingLeftOptions {
  /** The pool is still open: its own folders, lock, its daemon's socket, the RAM of loaded substrates and their zygotes may be there. Default false. */
  readonly open?: boolean;
}

/** What VMs and calls of a state directory left: every list is empty when they cleaned up after themselves. */
export interface Leftovers {
  /** "PID: command line" of each living process, but this one, whose arguments name one of its directories. */
  readonly processes: readonly string[];
  readonly vms: readonly string[];
  readonly runtime: readonly string[];
  readonly sharedMemory: readonly string[];
  /** Disks of forks. */
  readonly forks: readonly string[];
  /** Staging folders of builds. */
  readonly staging: readonly string[];
  /** Files of VMs or substrates that this process holds open. */
  readonly openFiles: readonly string[];
}

export async function leftovers(
  of: Paths | Directories,
  { open = false }: NothingLeftOptions = {},
): Promise<Leftovers> {
  const paths = of instanceof Paths ? of : new Paths(of);
  const sharedMemory = await namesIn(paths.sharedMemoryDir);
  const isZygote = (name: string) => open && /(^|=vm-substrate-)zygote-/.test(name);
  const processes = await processesNaming([paths.stateDir, paths.runtimeDir, paths.sharedMemoryDir]);
  return {
    processes: processes.filter((process) => !isZygote(process)),
    vms: (await namesIn(paths.vms)).filter((name) => !isZygote(name)),
    runtime: (await namesIn(paths.runtimeDir)).filter(
      (name) => !open || (join(paths.runtimeDir, name) !== paths.daemonSocket && !isZygote(name)),
    ),
    sharedMemory: sharedMemory.filter((name) => !open || !name.endsWith(".ram") || name.endsWith(".build.ram")),
    forks: await namesIn(paths.forks),
    staging: (await namesIn(paths.substrates)).filter((name) => name.startsWith(".")),
    openFiles: await openFilesBelow([paths.vms, paths.substrates, paths.sharedMemoryDir]),
  };
}

/** Fails when a VM, or a call that failed, was aborted or ended, has left anything behind. */
export async function expectNothingLeft(of: Paths | Directories, options?: NothingLeftOptions): Promise<void> {
  const nothing: Leftovers = {
    processes: [],
    vms: [],
    runtime: [],
    sharedMemory: [],
    forks: [],
    staging: [],
    openFiles: [],
  };
  expect(await leftovers(of, options)).toEqual(nothing);
}

async function namesIn(dir: string): Promise<string[]> {
  return (await readdir(dir).catch(() => [])).toSorted();
}

/** Processes but this one that name a file in one of these folders. */
export async function processesNaming(dirs: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (!dirs.some((dir) => commandLine.includes(`${dir}/`)) || (await processStartTime(pid)) === undefined) continue;
    found.push(`${pid}: ${commandLine.replaceAll("\0", " ").slice(0, 200)}`);
  }
  return found;
}

async function openFilesBelow(dirs: readonly string[]): Promise<string[]> {
  const open: string[] = [];
  for (const fd of await readdir("/proc/self/fd")) {
    const target = await readlink(`/proc/self/fd/${fd}`).catch(() => "");
    if (dirs.some((dir) => target.startsWith(join(dir, "/")))) open.push(target);
  }
  return open;
}
