import { setTimeout as delay } from "node:timers/promises";
import { isVmSubstrateError } from "../core/index.ts";
import type { GuestChannels } from "./ready/index.ts";
import type { GuestProfile } from "./recipe.ts";

/**
 * What the guest has yet to do of its own at the freeze, every clone would do first thing: RCU's grace periods, ended
 * programs. A quarter of what a clone runs until it is personal was that.
 */
const SETTLE_MS = 600;
const POLL_TIMEOUT_MS = 5000;
/**
 * Under TCG some 40 ms' worth; the guest is stopped within a few. A clone that is asked through the guest agent waits for what is
 * left of them, since the helper comes before all else in the guest.
 */
const POLLS = 20_000;

/**
 * The last step before a guest is stopped to be frozen: it has come to rest, but for its helper, which polls for the next
 * request rather than sleep. Each clone goes on in the middle of that, and needs no waking up: under TCG a tenth of what it runs
 * until it is personal.
 *
 * @throws VmSubstrateError GUEST_*, TIMEOUT, ABORTED
 */
export async function settle(
  { helper }: Pick<GuestChannels, "helper">,
  guest: Pick<GuestProfile, "helper">,
  signal: AbortSignal | undefined,
): Promise<void> {
  await delay(SETTLE_MS, undefined, { signal });
  if (!guest.helper) return; // it is carried in for each request, and ends with it
  const polling = helper.request([{ name: "poll", value: String(POLLS) }], { timeoutMs: POLL_TIMEOUT_MS, signal });
  await polling.catch((error: unknown) => {
    // That of an older substrate's clone cannot poll: its clones will have to be woken up.
    if (!isVmSubstrateError(error, "GUEST_HELPER_FAILED")) throw error;
  });
}
