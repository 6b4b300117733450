import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { newId } from "../core/index.ts";
import { ensurePrivateDir, processStartTime, type RecipePaths } from "../host/index.ts";
import { markUsed } from "./build-cache.ts";
import type { Recipe, RecipeContext } from "./recipe.ts";
import { removeWhatGoes } from "./remove-what-goes.ts";

/** What preparing needs, beside what a booted guest does. */
export type PrepareDependencies = Omit<RecipeContext, "downloadsDir" | "workDir">;

/** A recipe's disk, kernel and initrd, made once for each set of inputs. The caller has the cache in use (`useBuildCache`). */
export async function prepareGuest(recipe: Recipe, deps: PrepareDependencies): Promise<RecipePaths> {
  await ensurePrivateDir(deps.paths.cacheDir);
  const made = await prepareOnce(recipe.guest.recipe, await recipe.inputsKey(), deps, (output, context) =>
    recipe.make(output, context),
  );
  await markUsed([made.dir, ...((await recipe.ingredients?.(deps.paths)) ?? [])]);
  return made;
}

/**
 * Makes a recipe's files unless they are there, shared by all state directories of the user. An interrupted making leaves
 * nothing that counts, since one rename shows the result.
 */
export async function prepareOnce(
  name: string,
  key: string,
  deps: PrepareDependencies,
  make: (made: RecipePaths, context: RecipeContext) => Promise<void>,
): Promise<RecipePaths> {
  const { paths } = deps;
  const made = paths.recipeCache(name, key);
  if (await exists(made.dir)) return made;

  await removeAbandoned(dirname(made.dir));
  const staging = paths.recipeStaging(name, key, newId());
  const workDir = join(staging.dir, "work");
  try {
    await mkdir(workDir, { recursive: true });
    await make(staging, { ...deps, downloadsDir: paths.packageDownloads, workDir });
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
      await removeWhatGoes(join(dir, name));
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
