import { realpath } from "node:fs/promises";
import { dirname, isAbsolute } from "node:path";
import { messageOf, VmSubstrateError } from "../../../core/index.ts";
import { pathBeside } from "../beside.ts";

/**
 * The real path of the image that a recipe names.
 * @throws VmSubstrateError INVALID_ARGUMENT when there is none, or a relative path leads out of the recipe's folder
 */
export async function imageFile(image: string, recipe: string): Promise<string> {
  const what = `recipe ${recipe}: image ${image}`;
  if (!isAbsolute(image)) return pathBeside(await realpath(dirname(recipe)), image, what);
  return realpath(image).catch((cause: unknown) => {
    throw new VmSubstrateError("INVALID_ARGUMENT", `${what}: ${messageOf(cause)}`, { cause });
  });
}
