import { describe, expect, it } from "vitest";
import { Paths } from "../../../lib/host/index.ts";
import { debianDocumentSchema } from "../../../lib/substrate/recipes/debian/document.ts";
import { debianRecipe } from "../../../lib/substrate/recipes/debian/index.ts";
import { layersOf } from "../../../lib/substrate/recipes/debian/layers.ts";
import { stepsOf } from "../../../lib/substrate/recipes/debian/steps.ts";

const files = (run: string[], content = "x") =>
  layersOf(stepsOf({ run, units: ["a.service"] }, [{ path: "/etc/a", mode: 0o644, content }]), "base", "/layers").map(
    ({ file }) => file,
  );

describe("the layers of a recipe", () => {
  it("are one for each step, named by all that is below them", () => {
    const layers = files(["one", "two"]);
    expect(layers).toHaveLength(4);
    expect(new Set(layers).size).toBe(4);
    expect(files(["one", "two"])).toEqual(layers);
  });

  it("stay up to the first step that changed", () => {
    const before = files(["one", "two"]);
    const after = files(["one", "three"]);
    expect(after.map((file, i) => file === before[i])).toEqual([true, true, false, false]);
    expect(files(["one", "two"], "y").some((file) => before.includes(file))).toBe(false);
  });

  it("are what a change of the recipe is made of, with the base below them", async () => {
    const document = debianDocumentSchema.parse({ from: "debian", run: ["one", "two"] });
    const recipe = debianRecipe(document, []);
    const [base, ...above] = (await recipe.ingredients?.(new Paths({ cacheDir: "/c" }))) ?? [];
    expect(base).toMatch(/^\/c\/recipes\/debian-base\/\w+$/);
    expect(above).toHaveLength(2);
    for (const layer of above) expect(layer).toMatch(/^\/c\/recipes\/debian\/layers\/\w+\.qcow2$/);
  });
});
