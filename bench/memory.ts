import { readdir, readFile } from "node:fs/promises";
import { MIB } from "./context.ts";

export interface MemoryOfClones {
  /** Processes of clones; the fork server and zygotes are measured with them and are none. */
  readonly clones: number;
  readonly pssMiB: number;
  readonly privateMiB: number;
  /** Their part, included above. */
  readonly originsPssMiB: number;
}

/** Of all QEMU processes below a state directory, from /proc/PID/smaps_rollup. */
export async function memoryOfClones(stateDir: string): Promise<MemoryOfClones> {
  const total = { clones: 0, pssMiB: 0, privateMiB: 0, originsPssMiB: 0 };
  const below = JSON.stringify(`${stateDir}/`).slice(0, -1); // as a path begins in QEMU's JSON arguments
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    const isQemu = commandLine.includes("guest=vm-substrate-") && commandLine.includes(below);
    if (!isQemu && !(await isForkServer(pid, commandLine))) continue;
    const isClone = isQemu && !commandLine.includes("guest=vm-substrate-zygote-");
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => "");
    const mib = (field: string) =>
      (Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? 0) * 1024) / MIB;
    total.pssMiB += mib("Pss");
    total.privateMiB += mib("Private_Clean") + mib("Private_Dirty");
    if (isClone) total.clones++;
    else total.originsPssMiB += mib("Pss");
  }
  return total;
}

/** Ours: a child of this process. */
async function isForkServer(pid: string, commandLine: string): Promise<boolean> {
  if (!commandLine.includes("vm-substrate-fork-server")) return false;
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === process.pid;
}

export async function availableMiB(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8");
  return (Number(/^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1]) * 1024) / MIB;
}
