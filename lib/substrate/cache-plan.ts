/** One thing of the cache that is kept or removed as a whole. */
export interface CacheEntry {
  /** For people, below the cache: "debian/layers/3f0c". */
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  /** Of the last build that needed it, in milliseconds since 1970. */
  readonly usedAtMs: number;
  /** The file that this one's disk is on. */
  readonly below?: string | undefined;
  /** Nothing can use it: what it is on is gone, or whoever made it has died before it was whole. */
  readonly useless: boolean;
}

export interface CacheLimits {
  readonly nowMs: number;
  /** What no build has needed for so long goes. */
  readonly unusedForMs: number;
  /** Of what is left, the longest unused goes until it is no more than that. */
  readonly maxBytes: number;
}

/**
 * What is to be removed, in an order in which nothing ever lies on what is gone: a disk on another goes first, and as long as
 * it stays, what is below it stays as well. Pure.
 */
export function planCacheRemoval(entries: readonly CacheEntry[], limits: CacheLimits): CacheEntry[] {
  const ranked = entries.map((entry) => ({ entry, chain: chainOf(entry, entries) }));
  const usedAtMs = new Map<CacheEntry, number>();
  for (const { entry, chain } of ranked) {
    for (const one of chain) usedAtMs.set(one, Math.max(usedAtMs.get(one) ?? 0, entry.usedAtMs));
  }
  const candidates = ranked
    .map(({ entry, chain }) => ({
      entry,
      depth: chain.length,
      useless: chain.some(({ useless }) => useless),
      // A clock that was set back has used nothing in the future.
      unusedMs: Math.max(0, limits.nowMs - (usedAtMs.get(entry) ?? 0)),
    }))
    .toSorted((a, b) => Number(b.useless) - Number(a.useless) || b.unusedMs - a.unusedMs || b.depth - a.depth);
  let left = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  const removed: CacheEntry[] = [];
  for (const { entry, useless, unusedMs } of candidates) {
    if (!useless && unusedMs < limits.unusedForMs && left <= limits.maxBytes) break;
    removed.push(entry);
    left -= entry.bytes;
  }
  return removed;
}

/** It and all that it is on. */
function chainOf(entry: CacheEntry, entries: readonly CacheEntry[]): CacheEntry[] {
  const chain = [entry];
  for (;;) {
    const below = chain.at(-1)?.below;
    const next = entries.find(({ path }) => below === path || below?.startsWith(`${path}/`));
    if (next === undefined || chain.includes(next)) return chain;
    chain.push(next);
  }
}
