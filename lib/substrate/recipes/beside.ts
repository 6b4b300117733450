import { realpath } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { messageOf, VmSubstrateError } from "../../core/index.ts";

/**
 * The real path of a file that a recipe names. A recipe may come from anybody: it does not get to put this user's files into
 * a guest by a path that does not show it.
 *
 * @param dir the recipe's folder, a real path
 * @param what for errors: "recipe web.yaml: source motd"
 * @throws VmSubstrateError INVALID_ARGUMENT
 */
export async function pathBeside(dir: string, name: string, what: string): Promise<string> {
  const real = await realpath(join(dir, name)).catch((cause: unknown) => {
    throw new VmSubstrateError("INVALID_ARGUMENT", `${what}: ${messageOf(cause)}`, { cause });
  });
  const way = relative(dir, real);
  if (way !== ".." && !way.startsWith(`..${sep}`) && !way.startsWith(sep)) return real;
  const message = `${what} is outside of the recipe's folder`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { source: name } });
}
