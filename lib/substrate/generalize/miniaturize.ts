import { KIB } from "../../core/index.ts";
import { rehearseIdentity } from "../../netcfg/index.ts";
import { guestExec, readGuestFile, writeGuestFile } from "../../qmp/index.ts";
import type { GuestChannels } from "../ready/index.ts";
import type { GuestProfile } from "../recipe.ts";
import type { StepOptions } from "./step-options.ts";

/** Kept free of the scrub, so that the guest's own programs are not killed for memory. */
const SCRUB_KEEP_KIB = 4096;
/** The kernel's own reserve meanwhile; by its choice it grows with the memory, and the scrub cannot reach what it keeps. */
const SCRUB_RESERVE_KIB = 1024;
const RESERVE_FILE = "/proc/sys/vm/min_free_kbytes";

/**
 * Makes a guest small: what it wrote is on its disk, free blocks of the disk are given back, caches are dropped, and free memory
 * is zero, which a RAM file does not store. Also wipes what was deleted out of both.
 *
 * @throws VmSubstrateError what the guest's channels throw
 */
export async function miniaturize(guest: GuestChannels, profile: GuestProfile, options: StepOptions): Promise<void> {
  await guestExec(guest.agent, ["sync"], options);
  await guestExec(guest.agent, ["fstrim", "/"], options).catch(() => {}); // without it the disk is only larger
  await writeGuestFile(guest.agent, "/proc/sys/vm/drop_caches", "3\n", options);
  await writeGuestFile(guest.agent, "/proc/sys/vm/compact_memory", "1\n", options).catch(() => {});
  const reserve = await readGuestFile(guest.agent, RESERVE_FILE, options);
  await writeGuestFile(guest.agent, RESERVE_FILE, `${SCRUB_RESERVE_KIB}\n`, options);
  await guest.helper.request([{ name: "scrub", value: String(SCRUB_KEEP_KIB) }], options);
  await writeGuestFile(guest.agent, RESERVE_FILE, reserve, options);
  await warmUp(guest, profile, options);
}

/** What a clone runs first is in memory, rather than on its disk, where every clone would have to read it. */
export async function warmUp(guest: GuestChannels, profile: GuestProfile, options: StepOptions): Promise<void> {
  await rehearseIdentity(guest.helper, profile, options);
  await guestExec(guest.agent, ["true"], options);
}

/** The guest's memory in use, by its own account. */
export async function usedMemoryBytes(guest: GuestChannels, options: StepOptions): Promise<number> {
  const meminfo = Buffer.from(await readGuestFile(guest.agent, "/proc/meminfo", options)).toString("latin1");
  const kib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(meminfo)?.[1] ?? 0);
  return (kib("MemTotal") - kib("MemAvailable")) * KIB;
}
