import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { newId } from "../core/index.ts";
import { ensurePrivateDir, type Paths, processStartTime, type RecipePaths } from "../host/index.ts";
import type { Progress } from "./progress.ts";
import type { Recipe } from "./recipe.ts";

/**
 * A recipe's disk, kernel and initrd: made once for each set of inputs, shared by all state directories of the user.
 * An interrupted making leaves nothing that counts, since one rename shows the result.
 */
export async function prepareGuest(
  recipe: Recipe,
  paths: Paths,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<RecipePaths> {
  await ensurePrivateDir(paths.cacheDir);
  const key = await recipe.inputsKey();
  const made = paths.recipeCache(recipe.guest.recipe, key);
  if (await exists(made.dir)) return made;

  await removeAbandoned(dirname(made.dir));
  const staging = paths.recipeStaging(recipe.guest.recipe, key, newId());
  const workDir = join(staging.dir, "work");
  try {
    await mkdir(workDir, { recursive: true });
    await recipe.make(staging, { downloadsDir: paths.packageDownloads, workDir, progress, signal });
    await rm(workDir, { recursive: true });
    await rename(staging.dir, made.dir).catch(async (error: NodeJS.ErrnoException) => {
      // Another process made the same files meanwhile: theirs are as good.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(staging.dir, { recursive: true, force: true });
  }
  return made;
}

/** Staging folders whose maker was killed. */
async function removeAbandoned(dir: string): Promise<void> {
  for (const name of await readdir(dir).catch(() => [])) {
    const pid = Number(/^\..*-(\d+)$/.exec(name)?.[1]);
    if (Number.isInteger(pid) && (await processStartTime(pid)) === undefined) {
      await rm(join(dir, name), { recursive: true, force: true });
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
