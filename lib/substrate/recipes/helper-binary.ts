import { createRequire } from "node:module";
import { runTool } from "../../host/index.ts";

const COMPILE_TIMEOUT_MS = 60_000;
const SOURCES = ["helper/helper.c", "helper/interfaces.c", "helper/resources.c", "helper/http.c"];
/** All that the helper is made of, as names of `guestFile`. */
export const HELPER_FILES: readonly string[] = [...SOURCES, "helper/helper.h"];

/** A file of the package's guest/ folder, wherever the package is installed and whether it is compiled or not. */
export function guestFile(name: string): string {
  return createRequire(import.meta.url).resolve(`#guest/${name}`);
}

/** Compiles the guest's helper: static, against musl, so that it runs in any Linux guest. */
export async function compileHelper(output: string, signal?: AbortSignal): Promise<void> {
  const warnings = ["-Wall", "-Wextra", "-Werror"];
  // musl brings no kernel headers; the machine's come last, so that musl's own always win.
  const kernelHeaders = ["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"];
  const sources = SOURCES.map(guestFile);
  await runTool(
    ["musl-gcc", "-static", "-Os", "-s", "-std=gnu17", ...warnings, "-o", output, ...sources, ...kernelHeaders],
    {
      timeoutMs: COMPILE_TIMEOUT_MS,
      signal,
    },
  );
}
