import type { HelperAnswer, HelperOperation } from "../../helper-protocol.ts";
import { type IdentityPart, unverified } from "../part.ts";

/** How far the guest's clock may be off when it is handed over. */
export const CLOCK_TOLERANCE_MS = 100;

/** CLOCK_REALTIME: it stood still while the VM was frozen or paused. */
export const clock: IdentityPart = {
  name: "clock",
  set: () => [clockNow()],
  read: () => [{ name: "clock", value: "" }],
  verify: ([answer = ""]: HelperAnswer) => {
    const offsetMs = Math.abs(clockBehindMs(answer));
    if (offsetMs > CLOCK_TOLERANCE_MS)
      throw unverified("clock", `within ${CLOCK_TOLERANCE_MS} ms`, `${Math.round(offsetMs)} ms off`);
  },
};

/** @param aheadMs of this machine's time, for the time that the request will be on its way */
export function clockNow(aheadMs = 0): HelperOperation {
  const now = Date.now() + Math.round(aheadMs);
  const seconds = Math.floor(now / 1000);
  return { name: "clock", value: `${seconds}.${String((now % 1000) * 1_000_000).padStart(9, "0")}` };
}

/** By how much a clock that was just read is behind this machine's, milliseconds. The time that the answer took is part of it. */
export function clockBehindMs(answer: string): number {
  return Date.now() - clockReadMs(answer);
}

/**
 * What a clock showed, milliseconds since 1970.
 * @throws VmSubstrateError IDENTITY_UNVERIFIED for an answer that is no time
 */
export function clockReadMs(answer: string): number {
  const match = /^(\d{1,12})\.(\d{9})$/.exec(answer);
  if (match === null) throw unverified("clock", "seconds.nanoseconds", answer);
  return Number(match[1]) * 1000 + Number(match[2]) / 1_000_000;
}
