import { setTimeout as delay } from "node:timers/promises";
import type { HelperChannel, RequestOptions } from "./helper-channel.ts";
import { CLOCK_TOLERANCE_MS, clockBehindMs, clockNow, unverified } from "./identity/index.ts";

/** As long as a busy machine may need for an answer that comes soon enough to say what the guest's time is. */
const CLOCK_PATIENCE_MS = 10_000;
/** Before each further attempt: a clock that is set wakes programs of the guest, which delay the next one. */
const CLOCK_PAUSE_MS = 10;

/**
 * Sets a guest's clock until an answer proves that it is right. The time may be long on its way to the guest, and so may the answer
 * on its way back, but both together take as long as the request: a time is sent that is half of that ahead, and what is
 * left of doubt is the other half. A clock that is further off than a request can explain is wrong, and not just late.
 * Source: Cristian, "Probabilistic clock synchronization" (Distributed Computing 3, 1989).
 *
 * @throws VmSubstrateError IDENTITY_UNVERIFIED; GUEST_HELPER_FAILED, TIMEOUT, ABORTED of the request
 */
export async function setClock(channel: HelperChannel, options: RequestOptions): Promise<void> {
  const until = performance.now() + CLOCK_PATIENCE_MS;
  for (let aheadMs = 0, pauseMs = 0; ; pauseMs += CLOCK_PAUSE_MS) {
    const askedAt = performance.now();
    const [answer = ""] = await channel.request([clockNow(aheadMs)], options);
    const behindMs = clockBehindMs(answer);
    const tookMs = performance.now() - askedAt;
    const offsetMs = Math.max(Math.abs(behindMs), Math.abs(behindMs - tookMs));
    if (offsetMs <= CLOCK_TOLERANCE_MS) return;
    const isWrong = Math.abs(behindMs) > tookMs + aheadMs + CLOCK_TOLERANCE_MS;
    if (isWrong || performance.now() > until) {
      throw unverified("clock", `within ${CLOCK_TOLERANCE_MS} ms`, `${Math.round(offsetMs)} ms off`);
    }
    aheadMs = tookMs / 2;
    await delay(pauseMs, undefined, { signal: options.signal });
  }
}
