import { randomBytes } from "node:crypto";
import { posix } from "node:path";
import { KIB, VmSubstrateError } from "../core/index.ts";
import type { HelperOperation } from "../netcfg/index.ts";
import { guestExec, readGuestFile, writeGuestFile } from "../qmp/index.ts";
import type { GuestChannels } from "./ready.ts";
import type { GuestProfile } from "./recipe.ts";

const NEUTRAL_HOSTNAME = "localhost";
/** Kept free of the scrub, so that the guest's own programs are not killed for memory. */
const SCRUB_KEEP_KIB = 4096;
const WARM_ENTROPY_LENGTH = 32;

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
  await warm(guest, profile, options);
  await requireGeneral(guest, profile, options);
}

/** The guest's memory in use, by its own account. */
export async function usedMemoryBytes(guest: GuestChannels, options: StepOptions): Promise<number> {
  const meminfo = Buffer.from(await readGuestFile(guest.agent, "/proc/meminfo", options)).toString("latin1");
  const kib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(meminfo)?.[1] ?? 0);
  return (kib("MemTotal") - kib("MemAvailable")) * KIB;
}

/**
 * Runs what a clone will run first, with neutral values: its pages are then in the RAM file, and no clone has to read
 * them from the disk or fault them in.
 */
async function warm(guest: GuestChannels, profile: GuestProfile, options: StepOptions): Promise<void> {
  const file = (path: string, mode: string, content: string): HelperOperation => ({
    name: "file",
    value: `${path},${mode},${Buffer.from(content).toString("base64")}`,
  });
  const operations: HelperOperation[] = [
    { name: "clock", value: "" },
    { name: "hostname", value: NEUTRAL_HOSTNAME },
    { name: "entropy", value: randomBytes(WARM_ENTROPY_LENGTH).toString("base64") },
    file("/etc/hostname", "644", `${NEUTRAL_HOSTNAME}\n`),
    file("/etc/hosts", "644", `127.0.0.1 ${NEUTRAL_HOSTNAME}\n`),
    ...profile.generalize.truncate.map((path) => file(path, path === profile.sshHostKey.path ? "600" : "444", "")),
    { name: "carrier", value: `${profile.interface},0` },
  ];
  await guest.helper.request(operations, options);
  await guestExec(guest.agent, ["true"], options);
}

async function removeMatching(guest: GuestChannels, pattern: string, options: StepOptions): Promise<void> {
  await guestExec(guest.agent, [...findArguments(pattern), "-exec", "rm", "-rf", "{}", "+"], options);
}

async function requireGeneral(guest: GuestChannels, profile: GuestProfile, options: StepOptions): Promise<void> {
  for (const pattern of profile.generalize.remove) {
    const { stdout } = await guestExec(guest.agent, findArguments(pattern), options);
    const left = Buffer.from(stdout).toString("utf8").trim();
    if (left !== "") throw new VmSubstrateError("BUILD_FAILED", `generalize left ${JSON.stringify(left)} in the guest`);
  }
  for (const path of profile.generalize.truncate) {
    const { length } = await readGuestFile(guest.agent, path, options);
    if (length > 0)
      throw new VmSubstrateError("BUILD_FAILED", `generalize left ${length} bytes in the guest's ${path}`);
  }
}

/** find(1) rather than a shell's globbing: patterns stay arguments. */
function findArguments(pattern: string): string[] {
  const { dir, base } = posix.parse(pattern);
  return ["find", dir, "-mindepth", "1", "-maxdepth", "1", "-name", base];
}
