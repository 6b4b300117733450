import { rm } from "node:fs/promises";

/** A tenth of a second after the first try, two after the second, and so on. */
const REMOVAL_RETRIES = 3;

/**
 * Removes a folder whose owner was killed. A tool of that owner may still write in there: what does not go yet is in nobody's
 * way, and is for a later call.
 */
export async function removeWhatGoes(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true, maxRetries: REMOVAL_RETRIES }).catch(() => {});
}
