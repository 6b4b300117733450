import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { VmSubstrateError } from "../../core/index.ts";

/**
 * Kernel modules with all that they need, in the order in which they must be loaded. Dependencies are read from each
 * module's own .modinfo section, as depmod(8) does.
 */
export async function modulesInLoadOrder(modulesDir: string, wanted: readonly string[]): Promise<string[]> {
  const files = new Map<string, string>();
  for (const entry of await readdir(modulesDir, { recursive: true, withFileTypes: true })) {
    if (entry.name.endsWith(".ko")) files.set(moduleName(entry.name), join(entry.parentPath, entry.name));
  }
  const ordered = new Set<string>();
  const add = async (name: string): Promise<void> => {
    const file = files.get(name);
    if (file === undefined) throw new VmSubstrateError("RECIPE_FAILED", `the kernel has no module "${name}"`);
    if (ordered.has(file)) return;
    for (const dependency of await dependencies(file)) await add(dependency);
    ordered.add(file);
  };
  for (const name of wanted) await add(name);
  return [...ordered];
}

async function dependencies(file: string): Promise<string[]> {
  const content = await readFile(file, "latin1");
  const listed = /\0depends=([^\0]*)\0/.exec(content)?.[1] ?? "";
  return listed
    .split(",")
    .filter((name) => name !== "")
    .map(moduleName);
}

/** File names and `depends=` disagree on - and _. */
function moduleName(file: string): string {
  return basename(file, ".ko").replaceAll("-", "_");
}
