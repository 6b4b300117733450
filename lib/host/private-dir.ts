import { lstat, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf, VmSubstrateError } from "../core/index.ts";

const MODE = 0o700;
const STICKY = 0o1000;

/**
 * Makes `path` a directory that only this user can enter, or checks that it is one. Sockets and RAM files below it are
 * root-equivalent for the VMs: a directory planted by somebody else, a symlink to one, or one in a place that somebody
 * else may rearrange (a home directory of another user, as `sudo` may leave it in HOME) is refused.
 *
 * @throws VmSubstrateError UNSAFE_DIRECTORY
 */
export async function ensurePrivateDir(path: string): Promise<void> {
  await requireTrustedAncestors(path);
  await mkdir(dirname(path), { recursive: true }).catch((cause: unknown) => refuse(path, messageOf(cause), cause));
  await mkdir(path, { mode: MODE }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") refuse(path, messageOf(error), error);
  });
  await checkPrivateDir(path);
}

/** The check of `ensurePrivateDir` alone: a directory that is not there yet passes. @throws VmSubstrateError UNSAFE_DIRECTORY */
export async function checkPrivateDir(path: string): Promise<void> {
  await requireTrustedAncestors(path);
  const stat = await lstat(path).catch(() => undefined);
  if (stat === undefined) return;
  const uid = process.getuid?.();
  if (!stat.isDirectory()) refuse(path, "it is not a directory");
  if (stat.uid !== uid) refuse(path, `it belongs to user ${stat.uid}, expected ${uid}`);
  if ((stat.mode & 0o077) !== 0) refuse(path, `its mode is ${(stat.mode & 0o777).toString(8)}, expected 700`);
}

/** Owned by root or this user, and not writable by everybody unless sticky like /tmp. */
async function requireTrustedAncestors(path: string): Promise<void> {
  for (let dir = dirname(path); ; dir = dirname(dir)) {
    const stat = await lstat(dir).catch(() => undefined);
    if (stat !== undefined) {
      if (stat.uid !== 0 && stat.uid !== process.getuid?.()) refuse(path, `${dir} belongs to user ${stat.uid}`);
      if ((stat.mode & 0o002) !== 0 && (stat.mode & STICKY) === 0) refuse(path, `${dir} can be written by everybody`);
    }
    if (dir === dirname(dir)) return;
  }
}

function refuse(path: string, problem: string, cause?: unknown): never {
  const message = `${path} cannot be used: ${problem}; mend that, or choose another directory`;
  throw new VmSubstrateError("UNSAFE_DIRECTORY", message, { cause, details: { path } });
}
