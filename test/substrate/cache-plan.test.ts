import { describe, expect, it } from "vitest";
import { type CacheEntry, type CacheLimits, planCacheRemoval } from "../../lib/substrate/cache-plan.ts";
import { seeded } from "../support/random.ts";

const NOW = 1_000_000;
const EVERYTHING: CacheLimits = { nowMs: NOW, unusedForMs: 0, maxBytes: Number.POSITIVE_INFINITY };

function entry(name: string, unusedMs: number, more: Partial<CacheEntry> = {}): CacheEntry {
  return { name, path: `/c/${name}`, bytes: 10, usedAtMs: NOW - unusedMs, useless: false, ...more };
}
const removed = (entries: readonly CacheEntry[], limits: Partial<CacheLimits> = {}) =>
  planCacheRemoval(entries, { ...EVERYTHING, ...limits }).map(({ name }) => name);

describe("what goes from the cache", () => {
  it("is what was unused for so long, the longest first", () => {
    const entries = [entry("a", 50), entry("b", 200), entry("c", 100), entry("d", 99)];
    expect(removed(entries, { unusedForMs: 100 })).toEqual(["b", "c"]);
    expect(removed(entries)).toEqual(["b", "c", "d", "a"]);
    expect(removed([])).toEqual([]);
  });

  it("is not what something in use is on, however long it was unused itself", () => {
    const base = entry("base/1", 900);
    const lower = entry("lower", 900, { below: "/c/base/1/disk.qcow2" });
    const upper = entry("upper", 1, { below: "/c/lower" });
    const old = entry("old", 900, { below: "/c/lower" });
    expect(removed([base, lower, upper, old], { unusedForMs: 100 })).toEqual(["old"]);
    expect(removed([base, lower, upper, old])).toEqual(["old", "upper", "lower", "base/1"]);
  });

  it("is what nothing can use, and what is on it, before all else", () => {
    const orphan = entry("orphan", 0, { useless: true });
    const upper = entry("upper", 0, { below: "/c/orphan" });
    expect(removed([entry("old", 500), orphan, upper], { unusedForMs: 100 })).toEqual(["upper", "orphan", "old"]);
  });

  it("is the longest unused while it takes more than it may", () => {
    const entries = [entry("a", 3), entry("b", 2), entry("c", 1)];
    expect(removed(entries, { unusedForMs: 100, maxBytes: 20 })).toEqual(["a"]);
    expect(removed(entries, { unusedForMs: 100, maxBytes: 9 })).toEqual(["a", "b", "c"]);
    expect(removed(entries, { unusedForMs: 100, maxBytes: 30 })).toEqual([]);
  });

  it("is nothing that was used in the future, by a clock that was set back since", () => {
    expect(removed([entry("a", -5000)], { unusedForMs: 1 })).toEqual([]);
    expect(removed([entry("a", -5000)])).toEqual(["a"]);
  });

  it("never leaves a disk without the one below, also when its removal ends in between", () => {
    const next = seeded(7);
    const below = (count: number) => Math.floor(next() * count);
    for (let round = 0; round < 200; round++) {
      const entries: CacheEntry[] = [];
      for (let i = 0; i < 12; i++) {
        const on = below(3) === 0 ? undefined : entries[below(12)];
        entries.push(entry(`e${i}`, below(10), { useless: below(9) === 0, below: on?.path }));
      }
      const gone = new Set<string>();
      for (const name of removed(entries, { unusedForMs: below(10), maxBytes: below(150) })) {
        gone.add(`/c/${name}`);
        const hanging = entries.filter(({ path, below: on }) => !gone.has(path) && on !== undefined && gone.has(on));
        expect(hanging).toEqual([]);
      }
    }
  });
});
