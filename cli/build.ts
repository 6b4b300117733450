import type { Cli } from "./cli.ts";

/** Makes a substrate, and shows how far that is. */
export async function build(
  cli: Cli,
  what: { readonly recipe?: string; readonly recipeFile?: string; readonly name?: string },
) {
  const pool = await cli.pool();
  const name = what.name ?? what.recipe ?? what.recipeFile;
  try {
    return await pool.build({
      ...what,
      signal: cli.signal,
      onProgress: ({ step, message }) => cli.out.progress.show(`building ${name}: ${step}: ${message}`),
    });
  } finally {
    cli.out.progress.clear();
  }
}
