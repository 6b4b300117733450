import { readdir, readFile, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { Paths } from "./paths.ts";
import { processStartTime, processStartTimeSync } from "./proc.ts";
import type { ProcessName } from "./process-handle.ts";

const GONE_TIMEOUT_MS = 5000;
const GONE_POLL_MS = 5;
/** How `qemuArgv` names a VM. */
const NAME_OPTION = "guest=vm-substrate-";

/** A QEMU process of a state directory, whoever started it. */
export interface FoundProcess extends ProcessName {
  /** The id of its VM or build. */
  readonly id: string;
}

/**
 * The QEMU processes of a state directory. A process is one of them when it is this user's, is named as a VM of ours, and its
 * command line has a file in one of the directories that are the state directory's own: only its VMs and builds do. What is booted to
 * make a recipe's disk has its RAM there and its disk in the cache, which all share.
 */
export async function findProcesses(paths: Pick<Paths, "stateDir" | "sharedMemoryDir">): Promise<FoundProcess[]> {
  const dirs = [paths.stateDir, paths.sharedMemoryDir];
  const found: FoundProcess[] = [];
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const startTime = await processStartTime(pid);
    const id = startTime === undefined ? undefined : await idOf(pid, dirs);
    if (startTime !== undefined && id !== undefined) found.push({ pid, startTime, id });
  }
  return found;
}

/** Kills a process that is not our child, and waits until it is gone. @returns false when it was gone already */
export async function endProcess({ pid, startTime }: ProcessName): Promise<boolean> {
  if (processStartTimeSync(pid) !== startTime) return false;
  try {
    process.kill(pid, "SIGKILL"); // in the turn of the comparison, since PIDs are reused
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
  for (let waited = 0; waited < GONE_TIMEOUT_MS; waited += GONE_POLL_MS) {
    if ((await processStartTime(pid)) !== startTime) break;
    await delay(GONE_POLL_MS);
  }
  return true;
}

async function idOf(pid: number, dirs: readonly string[]): Promise<string | undefined> {
  // Anybody can name our files in a command line of theirs.
  const owner = await stat(`/proc/${pid}`).catch(() => undefined);
  if (owner?.uid !== process.getuid?.()) return undefined;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const args = commandLine.split("\0");
  const inJson = dirs.map((dir) => JSON.stringify(`${dir}/`).slice(0, -1)); // as a path begins in QEMU's JSON arguments
  const name = args.find((arg) => arg.startsWith(NAME_OPTION));
  return args.some((arg) => inJson.some((path) => arg.includes(path))) ? name?.slice(NAME_OPTION.length) : undefined;
}
