import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { Pool } from "../../lib/index.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Holds the state and cache directories of all integration tests of one run. */
    labDir: string;
  }
}

/** Builds the substrate that the tests clone, once for a run, from nothing. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const labDir = await mkdtemp(join(tmpdir(), "vm-lab-"));
  project.provide("labDir", labDir);
  await using pool = await Pool.open({ stateDir: join(labDir, "state"), cacheDir: join(labDir, "cache/vm-substrate") });
  await pool.build({ recipe: "mini" });
  return () => rm(labDir, { recursive: true, force: true });
}
