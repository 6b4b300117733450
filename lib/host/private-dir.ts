import { lstat, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { VmSubstrateError } from "../core/index.ts";

const MODE = 0o700;

/**
 * Makes `path` a directory that only this user can enter, or checks that it is one. Sockets and RAM files below it are
 * root-equivalent for the VMs: a directory planted by somebody else, or a symlink to one, is refused.
 *
 * @throws VmSubstrateError UNSAFE_DIRECTORY
 */
export async function ensurePrivateDir(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await mkdir(path, { mode: MODE }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  const stat = await lstat(path);
  const uid = process.getuid?.();
  const problem = !stat.isDirectory()
    ? "it is not a directory"
    : stat.uid !== uid
      ? `it belongs to user ${stat.uid}, expected ${uid}`
      : (stat.mode & 0o077) !== 0
        ? `its mode is ${(stat.mode & 0o777).toString(8)}, expected 700`
        : undefined;
  if (problem === undefined) return;
  throw new VmSubstrateError(
    "UNSAFE_DIRECTORY",
    `${path} cannot be used: ${problem}; remove it, mend it, or choose another`,
    {
      details: { path },
    },
  );
}
