import { createRequire } from "node:module";
import { compiledOnce, runTool } from "../../host/index.ts";

const COMPILE_TIMEOUT_MS = 60_000;
const SOURCES = ["helper", "interfaces", "resources", "partition", "filesystems", "http"].map(
  (name) => `helper/${name}.c`,
);
/** All that the helper is made of, as names of `guestFile`. */
export const HELPER_FILES: readonly string[] = [...SOURCES, "helper/helper.h"];

const SESSION_SOURCES = ["session/session.c", "session/program.c"];
const SESSION_HEADERS = ["session/session.h"];

/** A file of the package's guest/ folder, wherever the package is installed and whether it is compiled or not. */
export function guestFile(name: string): string {
  return createRequire(import.meta.url).resolve(`#guest/${name}`);
}

/** Static, against musl: what it makes runs in any Linux guest. */
const COMPILER = ["musl-gcc", "-static", "-Os", "-s", "-std=gnu17", "-Wall", "-Wextra", "-Werror"] as const;
/** musl brings no kernel headers; the machine's come last, so that musl's own always win. */
const KERNEL_HEADERS = ["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"] as const;

/** Compiles the guest's helper. */
export async function compileHelper(output: string, signal?: AbortSignal): Promise<void> {
  await runTool([...COMPILER, "-o", output, ...SOURCES.map(guestFile), ...KERNEL_HEADERS], {
    timeoutMs: COMPILE_TIMEOUT_MS,
    signal,
  });
}

/**
 * The program that carries sessions in a guest, which the agent takes in: compiled when it is first needed.
 *
 * @param dir where compiled files are kept
 * @returns its file, whose name tells its content
 * @throws VmSubstrateError RECIPE_TOOL_MISSING without a compiler, RECIPE_FAILED, UNSAFE_DIRECTORY, TIMEOUT, ABORTED
 */
export function sessionProgram(dir: string, signal: AbortSignal): Promise<string> {
  const compiler = [...COMPILER, ...KERNEL_HEADERS] as const;
  const sources = SESSION_SOURCES.map(guestFile);
  return compiledOnce({ dir, name: "session", compiler, sources, headers: SESSION_HEADERS.map(guestFile) }, signal);
}
