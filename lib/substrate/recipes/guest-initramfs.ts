import { basename, join } from "node:path";
import type { RecipeContext } from "../recipe.ts";
import { GuestRoot } from "./guest-root.ts";
import { guestFile } from "./helper-binary.ts";
import { initramfs } from "./images.ts";
import { modulesInLoadOrder } from "./kernel-modules.ts";

/** What the disk needs of Debian's cloud kernel, which has ext4 built in. */
export const INITRAMFS_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_net"];
/** Of `guestFile`. */
export const INITRAMFS_FILE = "initramfs/init";

/** Where Debian's packages were unpacked. */
export interface UnpackedKernel {
  readonly dir: string;
  /** "6.1.0-56-cloud-amd64" */
  readonly release: string;
}

/**
 * The initramfs of a guest whose root is an ext4: busybox, drivers, guest/initramfs/init.
 *
 * @param memoryFolders lines of folder and mode: folders that the guest is to have in memory
 * @throws VmSubstrateError RECIPE_FAILED, RECIPE_TOOL_MISSING, TIMEOUT, ABORTED
 */
export async function makeInitramfs(
  { dir, release }: UnpackedKernel,
  file: string,
  { workDir, signal }: Pick<RecipeContext, "workDir" | "signal">,
  memoryFolders?: string,
): Promise<void> {
  const root = new GuestRoot(join(workDir, "initramfs"));
  for (const folder of ["/bin", "/dev", "/root", "/modules", "/stage", "/sys"]) await root.directory(folder);
  await root.copy(join(dir, "bin/busybox"), "/bin/busybox", 0o755);
  await root.copy(guestFile(INITRAMFS_FILE), "/init", 0o755);
  const modules = await modulesInLoadOrder(join(dir, "lib/modules", release), INITRAMFS_MODULES);
  for (const module of modules) await root.copy(module, `/modules/${basename(module)}`);
  await root.file("/modules/order", `${modules.map((module) => basename(module)).join("\n")}\n`);
  if (memoryFolders !== undefined) await root.file("/memory", memoryFolders);
  await initramfs(root.dir, file, signal);
}
