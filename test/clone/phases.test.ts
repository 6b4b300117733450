import { expect, it } from "vitest";
import { PHASES } from "../../lib/clone/index.ts";
import { PhaseClock } from "../../lib/clone/phases.ts";

it("PhaseClock counts all the time since the start under some phase, also of one marked twice", () => {
  const now = performance.now();
  const clock = new PhaseClock(now - 100, now - 60);
  for (const phase of [...PHASES, ...PHASES]) clock.mark(phase);
  const { phasesMs, totalMs } = clock.timings();
  expect(Object.keys(phasesMs)).toEqual([...PHASES]);
  expect(phasesMs.plan).toBeGreaterThanOrEqual(40);
  expect(phasesMs.wait).toBeGreaterThanOrEqual(60);
  expect(Object.values(phasesMs).reduce((sum, ms) => sum + ms, 0)).toBeCloseTo(totalMs, 6);
  expect(Object.isFrozen(clock.timings().phasesMs)).toBe(true);
});
