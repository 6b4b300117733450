import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Second, STATS_SECONDS } from "../../api/index.ts";
import { Stats } from "../../daemon/stats.ts";
import type { Pool, Vm } from "../../lib/index.ts";

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is looked at
const POOL = { vms: [1, 2], docks: [{ ready: 3 }, { ready: 4 }], memory: { bytes: 1.6 } } as unknown as Pool;
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is looked at
const tookMs = (totalMs: number) => ({ timings: { totalMs } }) as Vm;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("the statistics of seconds", () => {
  it("have what each second brought, and nothing of the one before", () => {
    using stats = new Stats(POOL);
    for (let ms = 1; ms <= 100; ms++) stats.activated(tookMs(ms));
    stats.failed(3);
    vi.advanceTimersByTime(2000);
    const [first, second] = stats.seconds;
    expect(first).toMatchObject({ claims: 100, failures: 3, p50Ms: 50, p95Ms: 95, p99Ms: 99 });
    expect(first).toMatchObject({ vms: 2, ready: 7, memoryBytes: 2 });
    expect(second).toMatchObject({ claims: 0, failures: 0, p50Ms: null, p95Ms: null, p99Ms: null });
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBe(1);
  });

  it("of one claim are that claim's", () => {
    using stats = new Stats(POOL);
    stats.activated(tookMs(7));
    vi.advanceTimersByTime(1000);
    expect(stats.seconds).toMatchObject([{ claims: 1, p50Ms: 7, p95Ms: 7, p99Ms: 7 }]);
  });

  it("are kept for ten minutes, and told to who listens", () => {
    const stats = new Stats(POOL);
    const heard: Second[] = [];
    const end = stats.listen((second) => heard.push(second));
    vi.advanceTimersByTime((STATS_SECONDS + 50) * 1000);
    expect(stats.seconds).toHaveLength(STATS_SECONDS);
    expect(heard).toHaveLength(STATS_SECONDS + 50);
    expect(stats.seconds.at(-1)).toBe(heard.at(-1));
    end();
    vi.advanceTimersByTime(1000);
    stats[Symbol.dispose]();
    vi.advanceTimersByTime(5000);
    expect(heard).toHaveLength(STATS_SECONDS + 50);
    expect(stats.seconds).toHaveLength(STATS_SECONDS);
  });
});
