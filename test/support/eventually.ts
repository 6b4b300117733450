import { vi } from "vitest";

/** Long enough for a machine that runs other tests beside; one that passes takes no longer for it. */
const TIMEOUT_MS = 20_000;
const INTERVAL_MS = 20;

/** Resolves when `check` passes for the first time. @throws what it threw last, when it does not in time */
export function eventually<T>(check: () => T | Promise<T>, timeoutMs = TIMEOUT_MS): Promise<T> {
  return vi.waitFor(check, { timeout: timeoutMs, interval: INTERVAL_MS });
}
