import { createRequire } from "node:module";
import { VmSubstrateError } from "../core/index.ts";
import { type Compilation, compiledName, compiledOnce } from "./compiled-once.ts";

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
const SOURCES = ["fork-server", "zygote", "threads", "relocate", "listing"] as const;
const HEADERS = ["zygote", "threads", "relocate", "listing"] as const;
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
  const { resolve } = createRequire(import.meta.url);
  const sources = SOURCES.map((name) => resolve(`#native/${name}.c`));
  const headers = HEADERS.map((name) => resolve(`#native/${name}.h`));
  const compilation: Compilation = { dir, name: "fork-server", suffix: ".so", compiler: COMPILER, sources, headers };
  const library = await compiledName(compilation);
  if (NOT_IN_PRELOAD.test(library)) {
    throw new VmSubstrateError("UNSAFE_DIRECTORY", `${library} cannot stand in LD_PRELOAD: it has a space, ":" or "$"`);
  }
  return compiledOnce(compilation, signal);
}
