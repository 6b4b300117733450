export { type BuildResult, buildSubstrate } from "./build.ts";
export { Catalog, type Substrate } from "./catalog.ts";
export { LoadedSubstrate } from "./loaded-substrate.ts";
export { machineConfig } from "./machine.ts";
export type { Manifest } from "./manifest.ts";
export { type BuildProgress, progressReporter } from "./progress.ts";
export { awaitReady } from "./ready/index.ts";
export type { GuestProfile, Recipe } from "./recipe.ts";
export { recipeFromFile, recipeNamed } from "./recipes/index.ts";
