import { statfs } from "node:fs/promises";
import { formatMiB, MIB, VmSubstrateError } from "../core/index.ts";
import { availableMemoryBytes, freeDescriptors } from "./proc.ts";

/** What `blocks` of a file counts in, whatever its file system's are. Source: stat(2). */
export const STAT_BLOCK = 512;
/** `f_type` of tmpfs, from linux/magic.h. */
const TMPFS_MAGIC = 0x01021994;
/** Left free on the tmpfs, because a full one kills every QEMU that touches a new page with SIGBUS. */
export const SHARED_MEMORY_RESERVE_BYTES = 16 * MIB;
/** Left free on the machine. */
export const MEMORY_RESERVE_BYTES = 256 * MIB;

/** Left free on a disk that substrates and archives are written to: overlays and the store may be there as well. */
const DISK_RESERVE_BYTES = 64 * MIB;

/** Files that are left for everything but VMs. */
const DESCRIPTOR_RESERVE = 32;
/** A VM's three sockets for good, and while it starts its log, its state file and a pipe. */
const DESCRIPTORS_PER_VM = 6;

export interface SharedMemory {
  readonly isTmpfs: boolean;
  readonly freeBytes: number;
}

export async function sharedMemory(root: string): Promise<SharedMemory> {
  const stat = await statfs(root).catch((cause: unknown) => {
    const message = `shared-memory directory ${root} cannot be used; choose a tmpfs by sharedMemoryDir`;
    throw new VmSubstrateError("INSUFFICIENT_SHARED_MEMORY", message, { cause, details: { root } });
  });
  return { isTmpfs: stat.type === TMPFS_MAGIC, freeBytes: stat.bavail * stat.bsize };
}

/** @throws VmSubstrateError INSUFFICIENT_SHARED_MEMORY */
export async function requireSharedMemory(root: string, neededBytes: number, purpose: string): Promise<void> {
  const { freeBytes } = await sharedMemory(root);
  if (freeBytes >= neededBytes + SHARED_MEMORY_RESERVE_BYTES) return;
  throw new VmSubstrateError(
    "INSUFFICIENT_SHARED_MEMORY",
    `${purpose} needs ${formatMiB(neededBytes)} (and ${formatMiB(SHARED_MEMORY_RESERVE_BYTES)} in reserve) on ${root}, ` +
      `which has ${formatMiB(freeBytes)} free; enlarge it (mount -o remount,size=...) or choose another by sharedMemoryDir`,
    { details: { root, neededBytes, freeBytes } },
  );
}

/** @throws VmSubstrateError INSUFFICIENT_MEMORY */
export async function requireMemory(neededBytes: number, purpose: string): Promise<void> {
  const available = await availableMemoryBytes();
  if (available >= neededBytes + MEMORY_RESERVE_BYTES) return;
  throw new VmSubstrateError(
    "INSUFFICIENT_MEMORY",
    `${purpose} needs about ${formatMiB(neededBytes)}, ${formatMiB(available)} are available ` +
      `(${formatMiB(MEMORY_RESERVE_BYTES)} stay in reserve); release VMs or ask for fewer`,
    { details: { neededBytes, availableBytes: available } },
  );
}

/** @throws VmSubstrateError INSUFFICIENT_DISK */
export async function requireDisk(dir: string, neededBytes: number, purpose: string): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes + DISK_RESERVE_BYTES) return;
  throw new VmSubstrateError(
    "INSUFFICIENT_DISK",
    `${purpose} needs ${formatMiB(neededBytes)} (and ${formatMiB(DISK_RESERVE_BYTES)} in reserve) in ${dir}, ` +
      `which has ${formatMiB(freeBytes)} free; free some, or choose another directory`,
    { details: { dir, neededBytes, freeBytes } },
  );
}

/** EDQUOT is for a user's share of a disk what ENOSPC is for all of it. */
const DISK_FULL: readonly unknown[] = ["ENOSPC", "EDQUOT"];

/** What a writing that found a disk full fails with, as one that was refused before; any other error as it is. */
export function diskFull(dir: string, purpose: string, error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error) || !DISK_FULL.includes(error.code)) return error;
  const message = `${purpose} found the disk of ${dir} full; nothing of it is left: free some room, or choose another directory`;
  return new VmSubstrateError("INSUFFICIENT_DISK", message, { cause: error, details: { dir, errno: error.code } });
}

/**
 * A process that runs out of descriptors fails in the middle of anything; this fails before.
 * @throws VmSubstrateError INSUFFICIENT_DESCRIPTORS
 */
export async function requireDescriptors(vms: number, purpose: string): Promise<void> {
  const needed = vms * DESCRIPTORS_PER_VM + DESCRIPTOR_RESERVE;
  const free = await freeDescriptors();
  if (free >= needed) return;
  throw new VmSubstrateError(
    "INSUFFICIENT_DESCRIPTORS",
    `${purpose} needs ${needed} further open files, this process may open ${free}; raise its limit (ulimit -n) or release VMs`,
    { details: { needed, free } },
  );
}
