import { createHash } from "node:crypto";
import { access, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { newId } from "../core/index.ts";
import { ensurePrivateDir } from "./private-dir.ts";
import { runTool } from "./run-tool.ts";

const COMPILE_TIMEOUT_MS = 60_000;

export interface Compilation {
  /** Made private: whoever can write there, decides what runs. */
  readonly dir: string;
  /** What the file's name begins with. */
  readonly name: string;
  readonly suffix?: string;
  readonly compiler: readonly [string, ...string[]];
  readonly sources: readonly string[];
  /** What the sources include. */
  readonly headers?: readonly string[];
}

/** Where it is, or will be: a name for each content of its sources and command of its compiler. */
export async function compiledName({ dir, name, suffix = "", compiler, sources, headers = [] }: Compilation) {
  const digest = createHash("sha256").update(JSON.stringify(compiler));
  for (const file of [...sources, ...headers]) digest.update(await readFile(file));
  return join(dir, `${name}-${digest.digest("hex").slice(0, 16)}${suffix}`);
}

/**
 * A file that is compiled on this machine when it is first needed.
 *
 * @returns its path
 * @throws VmSubstrateError RECIPE_TOOL_MISSING without a compiler, RECIPE_FAILED, UNSAFE_DIRECTORY, TIMEOUT, ABORTED
 */
export async function compiledOnce(compilation: Compilation, signal?: AbortSignal): Promise<string> {
  const file = await compiledName(compilation);
  await ensurePrivateDir(compilation.dir);
  const isMade = await access(file).then(
    () => true,
    () => false,
  );
  if (!isMade) await compile(compilation, file, signal);
  return file;
}

/** One rename shows the finished file, also to another process that compiles at the same time. */
async function compile({ compiler, sources }: Compilation, file: string, signal: AbortSignal | undefined) {
  const made = `${file}.${newId()}`;
  try {
    await runTool([...compiler, "-o", made, ...sources], { timeoutMs: COMPILE_TIMEOUT_MS, signal });
    await using handle = await open(made);
    await handle.sync();
    await rename(made, file);
  } finally {
    await rm(made, { force: true });
  }
}
