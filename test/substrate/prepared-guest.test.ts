import { mkdir, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "../../lib/core/index.ts";
import { ensurePrivateDir, type RecipePaths } from "../../lib/host/index.ts";
import type { Recipe } from "../../lib/substrate/index.ts";
import { prepareGuest } from "../../lib/substrate/prepared-guest.ts";
import type { RecipeContext } from "../../lib/substrate/recipe.ts";
import { FakeHost } from "../support/fake-host.ts";
import { FAKE_GUEST } from "../support/fake-substrate.ts";

/** Nothing is booted here. */
const NO_MACHINE = {
  qemu: { path: "/nonexistent", version: "7.2.22", build: "none" },
  logger: silentLogger,
  accelerator: "tcg",
  progress: () => {},
} as const;

let host: FakeHost;
beforeEach(async () => {
  host = await FakeHost.create();
});
afterEach(() => host[Symbol.asyncDispose]());

class FakeRecipe implements Recipe {
  readonly guest = FAKE_GUEST;
  key = "key1";
  made = 0;
  workDir = "";

  async inputsKey(): Promise<string> {
    return this.key;
  }

  async make(output: RecipePaths, context: RecipeContext): Promise<void> {
    this.made++;
    this.workDir = context.workDir;
    expect(await readdir(context.workDir)).toEqual([]);
    await writeFile(join(context.workDir, "scratch"), "");
    for (const file of [output.disk, output.kernel, output.initrd, output.helper]) await writeFile(file, this.key);
  }
}

const prepare = (recipe: Recipe, signal?: AbortSignal) =>
  prepareGuest(recipe, { ...NO_MACHINE, paths: host.paths, signal });
const recipes = () => readdir(join(host.paths.cacheDir, "recipes/mini"));

describe("prepareGuest", () => {
  it("makes a guest's files once for each set of inputs", async () => {
    const recipe = new FakeRecipe();
    const made = await prepare(recipe);
    expect(await prepare(recipe)).toEqual(made);
    expect(recipe.made).toBe(1);
    expect((await readdir(made.dir)).toSorted()).toEqual(["disk.qcow2", "helper", "initrd", "vmlinuz"]);
    recipe.key = "key2";
    expect(await readFile((await prepare(recipe)).disk, "utf8")).toBe("key2");
    expect((await recipes()).toSorted()).toEqual(["key1", "key2"]);
  });

  it("marks what was used, and what a change of the recipe would be made of", async () => {
    const recipe = new FakeRecipe();
    const { dir } = await prepare(recipe);
    const layer = join(host.paths.cacheDir, "layer");
    await writeFile(layer, "");
    const longAgo = new Date("2026-01-01");
    for (const path of [dir, layer]) await utimes(path, longAgo, longAgo);
    const ingredients = async () => [layer, "/nonexistent/layer"];
    await prepare(Object.assign(recipe, { ingredients }));
    for (const path of [dir, layer]) expect((await stat(path)).mtimeMs).toBeGreaterThan(Date.now() - 60_000);
  });

  it("leaves nothing of a recipe that fails, and can be tried again", async () => {
    const recipe = new FakeRecipe();
    const make = recipe.make.bind(recipe);
    recipe.make = async (output, context) => {
      await make(output, context);
      throw new Error("disk full");
    };
    await expect(prepare(recipe)).rejects.toThrow("disk full");
    expect(await recipes()).toEqual([]);
    recipe.make = make;
    await prepare(recipe);
    expect(await recipes()).toEqual(["key1"]);
  });

  it("removes what a maker that died left, and keeps that of one that lives", async () => {
    const base = join(host.paths.cacheDir, "recipes/mini");
    await ensurePrivateDir(host.paths.cacheDir);
    const [dead, alive, other] = [`.key0-${2 ** 30}`, `.key0-${process.ppid}`, "key0"];
    for (const name of [dead, alive, other]) await mkdir(join(base, name), { recursive: true });
    await prepare(new FakeRecipe());
    expect((await recipes()).toSorted()).toEqual([alive, other, "key1"].toSorted());
  });

  it("takes another process's files when that was faster", async () => {
    const recipe = new FakeRecipe();
    const make = recipe.make.bind(recipe);
    recipe.make = async (output, context) => {
      await make(output, context);
      const theirs = host.paths.recipeCache("mini", "key1");
      await mkdir(theirs.dir);
      await writeFile(theirs.disk, "theirs");
    };
    const made = await prepare(recipe);
    expect(await readFile(made.disk, "utf8")).toBe("theirs");
    expect(await recipes()).toEqual(["key1"]);
  });

  it("can be asked for twice at the same time in one process", async () => {
    const [one, other] = [new FakeRecipe(), new FakeRecipe()];
    const results = await Promise.allSettled([prepare(one), prepare(other)]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
  });
});
