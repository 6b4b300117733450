import { createHash } from "node:crypto";
import { access, open, readFile, rename, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { newId, VmSubstrateError } from "../core/index.ts";
import { ensurePrivateDir } from "./private-dir.ts";
import { runTool } from "./run-tool.ts";

const COMPILE_TIMEOUT_MS = 30_000;
/** The linker puts no libc into it: the program that it is loaded into has one. */
const COMPILER = [
  "musl-gcc",
  "-shared",
  "-fPIC",
  "-nostdlib",
  "-fvisibility=hidden",
  "-Wl,-z,now",
  "-Os",
  "-s",
  "-std=gnu17",
] as const;
/** What the dynamic linker takes for the end of a name in LD_PRELOAD, or for a name to expand. */
const NOT_IN_PRELOAD = /[\s:$]/;

/**
 * The fork server's library, compiled once for each content of its source and command of its compiler.
 *
 * @param dir is made private: whoever can write there, runs code in every VM's process
 * @returns its file
 * @throws VmSubstrateError RECIPE_TOOL_MISSING without a compiler, RECIPE_FAILED, UNSAFE_DIRECTORY, TIMEOUT, ABORTED
 */
export async function forkServerLibrary(dir: string, signal?: AbortSignal): Promise<string> {
  const source = createRequire(import.meta.url).resolve("#native/fork-server.c");
  const digest = createHash("sha256")
    .update(JSON.stringify(COMPILER))
    .update(await readFile(source));
  const library = join(dir, `fork-server-${digest.digest("hex").slice(0, 16)}.so`);
  if (NOT_IN_PRELOAD.test(library)) {
    throw new VmSubstrateError("UNSAFE_DIRECTORY", `${library} cannot stand in LD_PRELOAD: it has a space, ":" or "$"`);
  }
  await ensurePrivateDir(dir);
  const isMade = await access(library).then(
    () => true,
    () => false,
  );
  if (!isMade) await compile(source, library, signal);
  return library;
}

/** One rename shows the finished file, also to another process that compiles at the same time. */
async function compile(source: string, library: string, signal: AbortSignal | undefined): Promise<void> {
  const made = `${library}.${newId()}`;
  try {
    await runTool([...COMPILER, "-o", made, source], { timeoutMs: COMPILE_TIMEOUT_MS, signal });
    await using file = await open(made);
    await file.sync();
    await rename(made, library);
  } finally {
    await rm(made, { force: true });
  }
}
