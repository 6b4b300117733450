import { VmSubstrateError } from "../../core/index.ts";
import type { Recipe } from "../recipe.ts";
import { debianDocumentSchema } from "./debian/document.ts";
import { debianRecipe } from "./debian/index.ts";
import { miniRecipe } from "./mini.ts";

export { sessionProgram } from "./helper-binary.ts";
export { recipeFromFile } from "./recipe-file.ts";

const RECIPES: Readonly<Record<string, Recipe>> = {
  mini: miniRecipe,
  debian: debianRecipe(debianDocumentSchema.parse({ from: "debian" }), []),
};

/** What `recipeNamed` knows. */
export const RECIPE_NAMES: readonly string[] = Object.keys(RECIPES);

/** @throws VmSubstrateError RECIPE_UNKNOWN */
export function recipeNamed(name: string): Recipe {
  const recipe = Object.hasOwn(RECIPES, name) ? RECIPES[name] : undefined;
  if (recipe !== undefined) return recipe;
  const known = Object.keys(RECIPES).join(", ");
  throw new VmSubstrateError("RECIPE_UNKNOWN", `there is no recipe "${name}"; there are: ${known}`, {
    details: { name },
  });
}
