import type { Second } from "../../api/index.ts";
import { CHART_SECONDS } from "./state.ts";

/** Columns for a chart: every second up to the last one, and a value or `null` for each. All columns are of one length. */
export interface Columns {
  readonly times: readonly number[];
  readonly values: readonly (readonly (number | null)[])[];
}

export function chartColumns(
  seconds: readonly Second[],
  nowSeconds: number,
  picks: readonly ((second: Second) => number | null)[],
): Columns {
  const last = seconds.at(-1)?.at ?? Math.floor(nowSeconds);
  const first = last - CHART_SECONDS + 1;
  const bySecond = new Map(seconds.map((second) => [second.at, second]));
  const times = Array.from({ length: CHART_SECONDS }, (_, i) => first + i);
  return {
    times,
    values: picks.map((pick) =>
      times.map((at) => {
        const second = bySecond.get(at);
        return second === undefined ? null : pick(second);
      }),
    ),
  };
}
