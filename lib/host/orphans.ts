import { readdir, readFile, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { processStartTime } from "./proc.ts";

const GONE_TIMEOUT_MS = 5000;
const GONE_POLL_MS = 5;

/**
 * Ends QEMU processes of ours whose owner died. A process is ours when its command line names a file below `stateDir`,
 * which only VMs and builds of this state directory do; the start time is compared right before the signal, since PIDs are reused.
 *
 * @returns the PIDs that were ended
 */
export async function killOrphans(stateDir: string): Promise<number[]> {
  const killed: number[] = [];
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const startTime = await processStartTime(pid);
    if (startTime === undefined || !(await isOurs(pid, stateDir))) continue;
    if ((await processStartTime(pid)) !== startTime) continue;
    if (!kill(pid)) continue;
    killed.push(pid);
    await untilGone(pid, startTime);
  }
  return killed;
}

/** @returns false when it has ended meanwhile */
function kill(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}

async function isOurs(pid: number, stateDir: string): Promise<boolean> {
  // Anybody can name our files in a command line of theirs.
  const owner = await stat(`/proc/${pid}`).catch(() => undefined);
  if (owner?.uid !== process.getuid?.()) return false;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const args = commandLine.split("\0");
  const inJson = JSON.stringify(`${stateDir}/`).slice(0, -1); // as a path begins in QEMU's JSON arguments
  return args.some((arg) => arg.startsWith("guest=vm-substrate-")) && args.some((arg) => arg.includes(inJson));
}

async function untilGone(pid: number, startTime: number): Promise<void> {
  for (let waited = 0; waited < GONE_TIMEOUT_MS; waited += GONE_POLL_MS) {
    if ((await processStartTime(pid)) !== startTime) return;
    await delay(GONE_POLL_MS);
  }
}
