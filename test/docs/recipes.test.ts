import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { recipeFromFile } from "../../lib/substrate/index.ts";

const PAGE = await readFile(join(import.meta.dirname, "../../docs/RECIPES.md"), "utf8");
const EXAMPLES = [...PAGE.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, text = ""]) => text);
const WHOLE = EXAMPLES.filter((text) => text.includes("\nfrom:"));

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "recipes-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** A recipe in a folder where the files are that it names. */
async function load(text: string) {
  const { image, files = [] } = parse(text) as { image?: string; files?: readonly { source?: string }[] };
  for (const name of [image, ...files.map(({ source }) => source)]) {
    if (name === undefined) continue;
    await mkdir(dirname(join(dir, name)), { recursive: true });
    await writeFile(join(dir, name), "content\n");
    await truncate(join(dir, name), 2 ** 20);
  }
  const file = join(dir, `${/^# ([\w-]+)\.yaml$/m.exec(text)?.[1]}.yaml`);
  await writeFile(file, text);
  return recipeFromFile(file);
}

describe("docs/RECIPES.md", () => {
  it("has recipes, and parts of recipes", () => {
    expect(WHOLE.length).toBeGreaterThan(2);
    expect(EXAMPLES.length).toBeGreaterThan(WHOLE.length);
  });

  it.each(WHOLE)("shows a recipe that can be built: %s", async (text) => {
    const { name, recipe } = await load(text);
    expect(text).toContain(`# ${name}.yaml`);
    expect(recipe.guest.ready.length).toBeGreaterThan(0);
  });

  it.each(EXAMPLES.filter((text) => !WHOLE.includes(text)))("shows a part of a recipe: %s", async (text) => {
    const ofDisk = WHOLE.find((one) => one.includes("from: disk"));
    const { recipe } = await load(`${ofDisk}${text}`);
    for (const key of Object.keys(parse(text))) expect(recipe.guest).toHaveProperty(key);
  });
});
