import type { DockView, Second } from "../../api/index.ts";

/** How many seconds "now" is, in the figures at the top. */
const SUMMARY_SECONDS = 60;

export interface Summary {
  readonly claims: number;
  readonly failures: number;
  /** Of the last second in which something was activated. */
  readonly latest: Second | undefined;
}

/** The last minute, and the last second of the history in which something happened. */
export function summaryOf(seconds: readonly Second[]): Summary {
  const after = (seconds.at(-1)?.at ?? 0) - SUMMARY_SECONDS;
  const minute = seconds.filter(({ at }) => at > after);
  return {
    claims: minute.reduce((sum, second) => sum + second.claims, 0),
    failures: minute.reduce((sum, second) => sum + second.failures, 0),
    latest: seconds.findLast(({ p50Ms }) => p50Ms !== null),
  };
}

export interface DockTotals {
  readonly ready: number;
  readonly target: number;
  readonly starting: number;
}

export function dockTotals(docks: Iterable<DockView>): DockTotals {
  const totals = { ready: 0, target: 0, starting: 0 };
  for (const dock of docks) {
    totals.ready += dock.ready;
    totals.target += dock.target;
    totals.starting += dock.starting;
  }
  return totals;
}
