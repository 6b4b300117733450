import { MIB, messageOf, VmSubstrateError } from "../core/index.ts";
import type { HelperOperation } from "../netcfg/index.ts";
import type { GuestChannels } from "./ready/index.ts";
import type { DiskGrowth, GuestProfile } from "./recipe.ts";

/** What a partition table may keep for itself at the end of a disk. */
const TABLE_BYTES = MIB;

/** What a guest says of the file system that it has let grow. */
export interface GrownDisk {
  /** Of the disk or partition that the file system is on. */
  readonly bytes: number;
  /** Of it, those that are not the file system's own tables. */
  readonly usableBytes: number;
}

/** Has a guest's helper let the root file system have a disk of `diskBytes`; once it has, again changes nothing. */
export function growDiskOperation({ kind, device, mountPoint }: DiskGrowth, diskBytes: number): HelperOperation {
  return { name: kind, value: `${device},${mountPoint},${diskBytes}` };
}

/** Pure. @returns undefined unless the answer is of this device, and it goes to the end of a disk of `diskBytes` */
export function grownDisk({ kind, device }: DiskGrowth, diskBytes: number, answer: string): GrownDisk | undefined {
  const prefix = `${device},`;
  const numbers = answer.startsWith(prefix) ? answer.slice(prefix.length).split(",") : [];
  if (!numbers.every((one) => /^\d{1,15}$/.test(one))) return undefined;
  const isPartition = kind === "partition";
  const [start, bytes, usableBytes, ...more] = (isPartition ? numbers : ["0", ...numbers]).map(Number);
  if (start === undefined || bytes === undefined || usableBytes === undefined || more.length > 0) return undefined;
  const left = diskBytes - (start + bytes);
  if (left < 0 || left > (isPartition ? TABLE_BYTES : 0) || usableBytes > bytes) return undefined;
  return { bytes, usableBytes };
}

/**
 * Whether a guest can do what its recipe says of its disk: found out here, where the recipe can still be mended, and not at the
 * first claim for a larger one.
 *
 * @throws VmSubstrateError BUILD_FAILED, TIMEOUT, ABORTED
 */
export async function requireGrowingDisk(
  { helper }: GuestChannels,
  { growth }: GuestProfile,
  diskBytes: number,
  within: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
): Promise<void> {
  if (growth?.disk === undefined) return;
  const operation = growDiskOperation(growth.disk, diskBytes);
  const refused = (why: string, cause?: unknown) => {
    const message = `the root file system does not grow as the recipe's growth.disk says (${growth.disk?.device}): ${why}`;
    return new VmSubstrateError("BUILD_FAILED", message, { cause });
  };
  const [answer = ""] = await helper.request([operation], within).catch((cause: unknown) => {
    throw cause instanceof VmSubstrateError && cause.code === "GUEST_HELPER_FAILED"
      ? refused(messageOf(cause), cause)
      : cause;
  });
  if (grownDisk(growth.disk, diskBytes, answer) === undefined)
    throw refused(`the guest says "${answer.slice(0, 100)}"`);
}
