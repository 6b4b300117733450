import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { KIB } from "../core/index.ts";

/**
 * A process's start time in clock ticks after boot (field 22 of /proc/PID/stat), or undefined when there is no such
 * process or it is a zombie. With the PID it names a process exactly: PIDs are reused, this pair is not.
 * Source: proc(5).
 */
export async function processStartTime(pid: number): Promise<number | undefined> {
  return startTimeOf(await readFile(`/proc/${pid}/stat`, "latin1").catch(() => undefined));
}

/** As `processStartTime`, for a check that nothing may come after. */
export function processStartTimeSync(pid: number): number | undefined {
  try {
    return startTimeOf(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined;
  }
}

function startTimeOf(stat: string | undefined): number | undefined {
  if (stat === undefined) return undefined;
  // The second field is the command in parentheses, and may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  if (state === "Z" || state === "X") return undefined;
  return Number(fields[19]);
}

export interface ProcessMemory {
  /** Proportional set size: private pages plus this process's share of shared ones. */
  readonly pssBytes: number;
  readonly privateBytes: number;
}

/** Undefined when there is no such process or it has ended. Source: proc(5), smaps_rollup. */
export async function processMemory(pid: number): Promise<ProcessMemory | undefined> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "latin1").catch(absentOfEnded);
  if (rollup === undefined) return undefined;
  const kib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? 0);
  return { pssBytes: kib("Pss") * KIB, privateBytes: (kib("Private_Clean") + kib("Private_Dirty")) * KIB };
}

/** ENOENT: nothing is left of it; ESRCH: it ended, and is not reaped yet. Anything else says nothing about the process. */
function absentOfEnded(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ENOENT" && code !== "ESRCH") throw error;
}

/** Memory that can be taken without swapping, in bytes (MemAvailable of /proc/meminfo). */
export async function availableMemoryBytes(): Promise<number> {
  const meminfo = await readFile("/proc/meminfo", "latin1");
  return Number(/^MemAvailable:\s+(\d+) kB/m.exec(meminfo)?.[1] ?? 0) * KIB;
}

/**
 * How fast this machine's processors count time, in the kernel's unit: delay loops of half a second, in thousands. Of a
 * processor that counts by its TSC that is its frequency in MHz, twice. Source: proc_cpuinfo(5); arch/x86/kernel/cpu/proc.c
 *
 * @returns undefined where it is not known
 */
export function bogoMips(): number | undefined {
  const found = /^bogomips\s*:\s*([\d.]+)$/m.exec(readFileSync("/proc/cpuinfo", "latin1"))?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Changes with every boot of this machine. */
export async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "latin1")).trim();
}

/** How many further files this process may open. Source: proc(5), limits; RLIMIT_NOFILE of getrlimit(2). */
export async function freeDescriptors(): Promise<number> {
  const limits = await readFile("/proc/self/limits", "latin1");
  const limit = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  return limit - (await readdir("/proc/self/fd")).length;
}

/** Milliseconds of CLOCK_MONOTONIC: the same clock in every process until the machine boots again. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
