import { posix } from "node:path";
import { KIB, VmSubstrateError } from "../core/index.ts";
import { identityFiles, identityFilesLeft, rehearseIdentity } from "../netcfg/index.ts";
import { guestExec, readGuestFile, writeGuestFile } from "../qmp/index.ts";
import type { GuestChannels } from "./ready.ts";
import type { GuestProfile } from "./recipe.ts";

const NEUTRAL_HOSTNAME = "localhost";
/** Kept free of the scrub, so that the guest's own programs are not killed for memory. */
const SCRUB_KEEP_KIB = 4096;

export interface StepOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Takes out of a running guest all that is its own, so that clones cannot inherit it: keys, machine-id, leases, logs,
 * random seed, names; then wipes what the boot left in free memory.
 *
 * @throws VmSubstrateError BUILD_FAILED when something personal is still there afterwards, or what the guest's channels throw
 */
export async function generalize(guest: GuestChannels, profile: GuestProfile, options: StepOptions): Promise<void> {
  for (const pattern of profile.generalize.remove) await removeMatching(guest, pattern, options);
  for (const path of profile.generalize.truncate) await writeGuestFile(guest.agent, path, "", options);
  await guest.helper.request([{ name: "hostname", value: NEUTRAL_HOSTNAME }], options);
  await guestExec(guest.agent, ["sync"], options);
  await writeGuestFile(guest.agent, "/proc/sys/vm/drop_caches", "3\n", options);
  await guest.helper.request([{ name: "scrub", value: String(SCRUB_KEEP_KIB) }], options);
  // After the scrub, which took what the kernel could spare: what a clone runs first is in memory again.
  await rehearseIdentity(guest.helper, profile, options);
  await guestExec(guest.agent, ["true"], options);
  await requireGeneral(guest, profile, options);
}

/** The guest's memory in use, by its own account. */
export async function usedMemoryBytes(guest: GuestChannels, options: StepOptions): Promise<number> {
  const meminfo = Buffer.from(await readGuestFile(guest.agent, "/proc/meminfo", options)).toString("latin1");
  const kib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(meminfo)?.[1] ?? 0);
  return (kib("MemTotal") - kib("MemAvailable")) * KIB;
}

async function removeMatching(guest: GuestChannels, pattern: string, options: StepOptions): Promise<void> {
  await guestExec(guest.agent, [...findArguments(pattern), "-exec", "rm", "-rf", "{}", "+"], options);
}

async function requireGeneral(guest: GuestChannels, profile: GuestProfile, options: StepOptions): Promise<void> {
  const emptied = new Set(identityFiles(profile)); // they are there again, and looked into below
  for (const pattern of profile.generalize.remove) {
    const { stdout } = await guestExec(guest.agent, findArguments(pattern), options);
    const found = Buffer.from(stdout).toString("utf8").trim().split("\n");
    const left = found.filter((path) => path !== "" && !emptied.has(path));
    if (left.length > 0)
      throw new VmSubstrateError("BUILD_FAILED", `generalize left ${JSON.stringify(left.join(" "))} in the guest`);
  }
  for (const path of profile.generalize.truncate) {
    const { length } = await readGuestFile(guest.agent, path, options);
    if (length > 0)
      throw new VmSubstrateError("BUILD_FAILED", `generalize left ${length} bytes in the guest's ${path}`);
  }
  const personal = await identityFilesLeft(guest.helper, profile, options);
  if (personal.length > 0)
    throw new VmSubstrateError("BUILD_FAILED", `generalize left an identity in the guest's ${personal.join(", ")}`);
}

/** find(1) rather than a shell's globbing: patterns stay arguments. */
function findArguments(pattern: string): string[] {
  const { dir, base } = posix.parse(pattern);
  return ["find", dir, "-mindepth", "1", "-maxdepth", "1", "-name", base];
}
