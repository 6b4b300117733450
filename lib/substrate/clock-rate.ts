import { setTimeout as delay } from "node:timers/promises";
import { VmSubstrateError } from "../core/index.ts";
import { clockReadMs, type HelperChannel, type RequestOptions } from "../netcfg/index.ts";

/** A kernel that measures its processor on an idle machine is off by less than a thousandth. */
const TOLERANCE = 0.05;
const CLOCK_WATCH_MS = 500;

/** What a guest's clock showed, between two moments of this machine's, milliseconds. */
interface Reading {
  readonly guestMs: number;
  readonly askedAt: number;
  readonly answeredAt: number;
}

/**
 * Whether a guest's clock runs as fast as this machine's. A kernel measures its processor once, when it boots. Where this machine
 * had no time for QEMU meanwhile it may take it for many times slower than it is, and its clock then runs as much too fast, in
 * every clone for ever. Nothing may set it meanwhile.
 *
 * @throws VmSubstrateError BUILD_FAILED with `clockRate` where it certainly does not; GUEST_*, TIMEOUT, ABORTED
 */
export async function requireSteadyClock(helper: HelperChannel, options: RequestOptions): Promise<void> {
  const first = await readClock(helper, options);
  await delay(CLOCK_WATCH_MS, undefined, { signal: options.signal });
  const second = await readClock(helper, options);
  const passedMs = second.guestMs - first.guestMs;
  const leastMs = second.askedAt - first.answeredAt;
  const mostMs = second.answeredAt - first.askedAt;
  if (passedMs >= leastMs * (1 - TOLERANCE) && passedMs <= mostMs * (1 + TOLERANCE)) return;
  const clockRate = passedMs / ((leastMs + mostMs) / 2);
  const message =
    `the guest's clock runs at ${clockRate.toFixed(2)} times real time: its kernel measured the processor while this machine ` +
    `was busy; build again when it is not`;
  throw new VmSubstrateError("BUILD_FAILED", message, { details: { clockRate } });
}

async function readClock(helper: HelperChannel, options: RequestOptions): Promise<Reading> {
  const askedAt = performance.now();
  const [answer = ""] = await helper.request([{ name: "clock", value: "" }], options);
  return { guestMs: clockReadMs(answer), askedAt, answeredAt: performance.now() };
}
