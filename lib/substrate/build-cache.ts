import { lstat, mkdir, readdir, realpath, rename, utimes } from "node:fs/promises";
import { basename, join } from "node:path";
import { newId } from "../core/index.ts";
import { ensurePrivateDir, type Paths, qcow2BackingFile, STAT_BLOCK } from "../host/index.ts";
import { SharedLock } from "../store/index.ts";
import { type CacheEntry, type CacheLimits, planCacheRemoval } from "./cache-plan.ts";
import { removeWhatGoes } from "./remove-what-goes.ts";

/** Whoever removes holds the cache alone for a few renames. */
const CACHE_LOCK_TIMEOUT_MS = 30_000;

/** What was done to the files that builds keep. */
export interface CacheReport {
  /** Names below the cache, such as `debian/layers/9f2b63d50ca1e874`. */
  readonly removed: readonly string[];
  readonly freedBytes: number;
  readonly leftBytes: number;
  /** A build of another process was under way: nothing was removed. */
  readonly busy: boolean;
}

/**
 * Nothing is removed from the cache until this is disposed, by any process. It ends with its process.
 * @throws VmSubstrateError UNSAFE_DIRECTORY, STATE_DIR_DAMAGED, TIMEOUT, ABORTED
 */
export async function useBuildCache(paths: Paths, signal: AbortSignal | undefined): Promise<Disposable> {
  await ensurePrivateDir(paths.cacheDir);
  return SharedLock.acquire(paths.cacheLock, "shared", { what: "build", timeoutMs: CACHE_LOCK_TIMEOUT_MS, signal });
}

/** A build needed these: they stay for as long again. What is not there, or cannot be marked, is left as it is. */
export async function markUsed(paths: readonly string[]): Promise<void> {
  const now = new Date();
  await Promise.all(paths.map((path) => utimes(path, now, now).catch(() => {})));
}

/**
 * Removes what builds have kept and none has needed for long: out of sight first, by renames in an order that may end anywhere,
 * and then from the disk. A crash in between leaves a hidden folder, which the next call removes.
 *
 * @throws VmSubstrateError UNSAFE_DIRECTORY, STATE_DIR_DAMAGED; errors of Node's
 */
export async function collectBuildCache(paths: Paths, limits: CacheLimits): Promise<CacheReport> {
  await ensurePrivateDir(paths.cacheDir);
  const hidden = paths.cacheRemoval(newId());
  const report = await hideIn(hidden, paths, limits);
  await removeWhatGoes(hidden);
  return report;
}

async function hideIn(hidden: string, paths: Paths, limits: CacheLimits): Promise<CacheReport> {
  using lock = SharedLock.tryAcquire(paths.cacheLock, "exclusive");
  if (lock === undefined) {
    const kept = [paths.recipes, paths.packageDownloads].map(allocatedBytes);
    return { removed: [], freedBytes: 0, leftBytes: sum(await Promise.all(kept)), busy: true };
  }
  const entries = await cacheEntries(paths);
  const planned = planCacheRemoval(entries, limits);
  const left = await leftovers(paths);
  if (planned.length + left.length > 0) await mkdir(hidden, { mode: 0o700 });
  for (const [i, path] of left.entries()) await rename(path, join(hidden, `left-${i}`)).catch(ignoreMissing);
  for (const [i, { path }] of planned.entries()) await rename(path, join(hidden, String(i)));
  const freedBytes = sum(planned.map(({ bytes }) => bytes));
  const leftBytes = sum(entries.map(({ bytes }) => bytes)) - freedBytes;
  return { removed: planned.map(({ name }) => name), freedBytes, leftBytes, busy: false };
}

/** What was taken out of sight by others, and is perhaps still being removed by them. */
async function leftovers(paths: Paths): Promise<string[]> {
  const names = await readdir(paths.cacheDir);
  return names.filter((name) => paths.isCacheRemoval(name)).map((name) => join(paths.cacheDir, name));
}

/** Finished files of recipes, layers, what makers that died have left, and the lists of Debian's packages. */
async function cacheEntries(paths: Paths): Promise<CacheEntry[]> {
  const entries: CacheEntry[] = [];
  for (const recipe of await namesIn(paths.recipes)) {
    const dir = join(paths.recipes, recipe);
    const layers = paths.recipeLayers(recipe);
    for (const name of await namesIn(dir)) {
      if (join(dir, name) === layers) continue;
      // Nobody else builds, and so nobody makes it.
      entries.push(await entryOf(`${recipe}/${name}`, join(dir, name), { useless: name.startsWith(".") }));
    }
    for (const name of await namesIn(layers)) {
      const shown = `${recipe}/${basename(layers)}/${basename(name, ".qcow2")}`;
      entries.push(await entryOf(shown, join(layers, name), await diskBelow(join(layers, name))));
    }
  }
  const { packageDownloads } = paths;
  if ((await namesIn(packageDownloads)).length > 0) {
    entries.push(await entryOf(basename(packageDownloads), packageDownloads, { useless: false }));
  }
  return entries;
}

async function entryOf(name: string, path: string, state: Pick<CacheEntry, "below" | "useless">): Promise<CacheEntry> {
  const { mtimeMs } = await lstat(path);
  return { name, path: await realpath(path), usedAtMs: mtimeMs, bytes: await allocatedBytes(path), ...state };
}

/** A layer whose disk below is gone must not be found again: another one could come to be there by the same name. */
async function diskBelow(layer: string): Promise<Pick<CacheEntry, "below" | "useless">> {
  try {
    const named = await qcow2BackingFile(layer);
    return { below: named === undefined ? undefined : await realpath(named), useless: false };
  } catch {
    return { useless: true };
  }
}

/** Also of what somebody changes meanwhile. */
async function allocatedBytes(path: string): Promise<number> {
  const stat = await lstat(path).catch(ignoreMissing);
  if (stat === undefined) return 0;
  const inside = stat.isDirectory() ? (await namesIn(path)).map((name) => allocatedBytes(join(path, name))) : [];
  return stat.blocks * STAT_BLOCK + sum(await Promise.all(inside));
}

/** None where there is no such folder. */
async function namesIn(dir: string): Promise<string[]> {
  return ((await readdir(dir).catch(ignoreMissing)) ?? []).toSorted();
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
