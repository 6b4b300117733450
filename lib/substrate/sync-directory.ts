import { open } from "node:fs/promises";

/** Makes what was renamed in a directory survive a loss of power. */
export async function syncDirectory(dir: string): Promise<void> {
  await using handle = await open(dir, "r");
  await handle.sync();
}
