import { describe, expect, it } from "vitest";
import { PHASES as LIBRARY_PHASES } from "../../lib/clone/index.ts";
import { chartColumns } from "../../web/state/chart-columns.ts";
import { PHASES, phaseSpans } from "../../web/state/phases.ts";
import { CHART_SECONDS } from "../../web/state/state.ts";
import { dockTotals, summaryOf } from "../../web/state/summary.ts";
import { fakeDock, fakeSecond } from "../support/fake-views.ts";

describe("chartColumns", () => {
  it("have every second, and nothing where nothing was heard", () => {
    const { times, values } = chartColumns([fakeSecond(1000, { claims: 2 }), fakeSecond(1002)], 0, [
      ({ claims }) => claims,
    ]);
    expect(times).toHaveLength(CHART_SECONDS);
    expect(times.slice(-3)).toEqual([1000, 1001, 1002]);
    expect(values[0]?.slice(-3)).toEqual([2, null, 0]);
  });

  it("end now when there is no second yet", () => {
    expect(chartColumns([], 5000.7, []).times.at(-1)).toBe(5000);
  });
});

describe("phaseSpans", () => {
  it("follow one another in the order of the phases, without those that took no time", () => {
    const timings = { totalMs: 6, phasesMs: { verify: 3, plan: 1, spawn: 0, wait: 2 } };
    expect(phaseSpans({ timings })).toEqual([
      { phase: "plan", startMs: 0, ms: 1 },
      { phase: "wait", startMs: 1, ms: 2 },
      { phase: "verify", startMs: 3, ms: 3 },
    ]);
  });

  it("have a phase that the page does not know at the end", () => {
    expect(phaseSpans({ timings: { totalMs: 3, phasesMs: { novel: 1, run: 2 } } }).map(({ phase }) => phase)).toEqual([
      "run",
      "novel",
    ]);
  });

  it("know the library's phases, in its order", () => {
    expect(PHASES).toEqual(LIBRARY_PHASES);
  });
});

it("sums the last minute, and finds the last second with an activation", () => {
  const seconds = [
    fakeSecond(1, { claims: 9 }),
    fakeSecond(50, { claims: 2, p50Ms: 8 }),
    fakeSecond(100, { claims: 1, failures: 3 }),
  ];
  expect(summaryOf(seconds)).toMatchObject({ claims: 3, failures: 3, latest: { at: 50 } });
  expect(summaryOf([])).toEqual({ claims: 0, failures: 0, latest: undefined });
});

it("adds up docks", () => {
  expect(dockTotals([fakeDock(), fakeDock({ ready: 1, starting: 0, target: 2 })])).toEqual({
    ready: 7,
    target: 10,
    starting: 1,
  });
});
