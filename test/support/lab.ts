import { join } from "node:path";
import { inject } from "vitest";
import { Pool, type PoolOptions } from "../../lib/index.ts";
import { expectNothingLeft } from "./nothing-left.ts";

/** The directories that all integration tests share; their substrate is built once. */
export function labDirectories() {
  const labDir = inject("labDir");
  return { stateDir: join(labDir, "state"), cacheDir: join(labDir, "cache/vm-substrate") };
}

/** A pool on the shared directories. When it is disposed, nothing may be left of its VMs: every test checks that. */
export async function openLab(options: PoolOptions = {}): Promise<{ pool: Pool } & AsyncDisposable> {
  const directories = { ...labDirectories(), ...options };
  const pool = await Pool.open(directories);
  return {
    pool,
    async [Symbol.asyncDispose]() {
      await pool.close();
      await expectNothingLeft(directories);
    },
  };
}
