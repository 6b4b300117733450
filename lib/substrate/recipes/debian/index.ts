import { createHash } from "node:crypto";
import { copyFile, readFile } from "node:fs/promises";
import { type Paths, type RecipePaths, runTool } from "../../../host/index.ts";
import type { GuestFile } from "../../../netcfg/index.ts";
import { prepareOnce } from "../../prepared-guest.ts";
import type { Recipe, RecipeContext } from "../../recipe.ts";
import { guestFile } from "../helper-binary.ts";
import { BASE_FILES, BASE_REVISION, makeBase } from "./base.ts";
import type { DebianDocument } from "./document.ts";
import { debianGuest } from "./guest.ts";
import { layersOf, makeLayers } from "./layers.ts";
import { stepsOf } from "./steps.ts";

const FLATTEN_TIMEOUT_MS = 300_000;
/** What all recipes with the same packages share. */
const BASE = "debian-base";

/** Debian 12 with systemd, and what its document adds. @param files with the content of each */
export function debianRecipe(document: DebianDocument, files: readonly GuestFile[]): Recipe {
  const guest = debianGuest(document);
  const steps = stepsOf(document, files);
  const keyOfAll = async () => digest([await baseKey(document), steps.map(({ key }) => key), guest]);
  const layersIn = (paths: Paths, key: string) => layersOf(steps, key, paths.recipeLayers("debian"));
  const ingredients = async (paths: Paths) => {
    const key = await baseKey(document);
    return [paths.recipeCache(BASE, key).dir, ...layersIn(paths, key).map(({ file }) => file)];
  };
  return { guest, inputsKey: keyOfAll, ingredients, make: (output, context) => make(document, output, context) };

  async function make(wanted: DebianDocument, output: RecipePaths, context: RecipeContext): Promise<void> {
    const key = await baseKey(wanted);
    const base = await prepareOnce(BASE, key, context, (made, within) => makeBase(wanted, made, within));
    const top = await makeLayers(layersIn(context.paths, key), base, guest, context);
    // Small clusters: what the guest discards is gone, rather than only most of it.
    const argv = [
      "qemu-img",
      "convert",
      "-f",
      "qcow2",
      "-O",
      "qcow2",
      "-o",
      "cluster_size=4096",
      top,
      output.disk,
    ] as const;
    await runTool(argv, { timeoutMs: FLATTEN_TIMEOUT_MS, signal: context.signal });
    for (const file of ["kernel", "initrd", "helper"] as const) await copyFile(base[file], output[file]);
  }
}

async function baseKey({ packages, diskMiB }: DebianDocument): Promise<string> {
  const contents = await Promise.all(BASE_FILES.map(async (name) => digest(await readFile(guestFile(name), "utf8"))));
  return digest([BASE_REVISION, packages, diskMiB, contents]);
}

function digest(what: unknown): string {
  return createHash("sha256").update(JSON.stringify(what)).digest("hex").slice(0, 16);
}
