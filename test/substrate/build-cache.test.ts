import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, mkdir, readdir, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createOverlay, ensurePrivateDir, type Paths, qcow2BackingFile } from "../../lib/host/index.ts";
import { collectBuildCache, markUsed, useBuildCache } from "../../lib/substrate/build-cache.ts";
import { FakeHost } from "../support/fake-host.ts";
import { createDisk } from "../support/fake-substrate.ts";

const DAY_MS = 86_400_000;
const DISK_BYTES = 1024 * 1024;
const WEEK = { nowMs: Date.now(), unusedForMs: 7 * DAY_MS, maxBytes: Number.POSITIVE_INFINITY };
const ALL = { ...WEEK, unusedForMs: 0 };

let host: FakeHost;
let paths: Paths;
beforeEach(async () => {
  host = await FakeHost.create();
  ({ paths } = host);
  await ensurePrivateDir(paths.cacheDir);
});
afterEach(() => host[Symbol.asyncDispose]());

async function unusedFor(path: string, days: number): Promise<void> {
  const at = new Date(WEEK.nowMs - days * DAY_MS);
  await utimes(path, at, at);
}

/** A recipe's finished files. */
async function addMade(recipe: string, key: string, days: number): Promise<string> {
  const made = paths.recipeCache(recipe, key);
  await mkdir(made.dir, { recursive: true });
  await createDisk(made.disk);
  await unusedFor(made.dir, days);
  return made.disk;
}

async function addLayer(name: string, below: string, days: number): Promise<string> {
  const file = join(paths.recipeLayers("debian"), `${name}.qcow2`);
  await mkdir(paths.recipeLayers("debian"), { recursive: true });
  await createOverlay(file, below, DISK_BYTES);
  await unusedFor(file, days);
  return file;
}

const layers = async () => (await readdir(paths.recipeLayers("debian")).catch(() => [])).toSorted();
const hidden = async () => (await readdir(paths.cacheDir)).filter((name) => name.startsWith(".removed"));

describe("the cache of builds", () => {
  it("loses what was not needed for long, and keeps the disks below what was", async () => {
    const base = await addMade("debian-base", "b1", 30);
    const one = await addLayer("l1", base, 30);
    await addLayer("l2", one, 1);
    await addLayer("l3", one, 30);
    await addMade("debian-base", "b2", 30);
    await addMade("mini", "m1", 30);
    await addMade("mini", "m2", 2);
    await mkdir(join(paths.packageDownloads, "lists"), { recursive: true });
    await writeFile(join(paths.packageDownloads, "lists/one"), Buffer.alloc(100_000));
    await unusedFor(paths.packageDownloads, 30);
    const { removed, freedBytes, leftBytes, busy } = await collectBuildCache(paths, WEEK);
    expect(removed.toSorted()).toEqual(["debian-base/b2", "debian/layers/l3", "mini/m1", "packages"]);
    expect(freedBytes).toBeGreaterThan(100_000);
    expect(leftBytes).toBeGreaterThan(0);
    expect(busy).toBe(false);
    expect(await layers()).toEqual(["l1.qcow2", "l2.qcow2"]);
    expect(await readdir(join(paths.recipes, "debian-base"))).toEqual(["b1"]);
    expect((await collectBuildCache(paths, ALL)).removed).toHaveLength(4);
    expect(await collectBuildCache(paths, ALL)).toEqual({ removed: [], freedBytes: 0, leftBytes: 0, busy: false });
    expect(await hidden()).toEqual([]);
  });

  it("that is not there is none, and native programs and verdicts are no part of it", async () => {
    await mkdir(paths.nativeLibraries);
    await writeFile(paths.acceleratorVerdict, "{}");
    expect((await collectBuildCache(paths, ALL)).removed).toEqual([]);
    expect(await readdir(paths.cacheDir)).toEqual(expect.arrayContaining(["accelerator.json", "native"]));
  });

  it("keeps no layer whose disk below is gone, and nothing of makers that have died", async () => {
    const one = await addLayer("l1", await addMade("debian-base", "b1", 0), 0);
    await addLayer("l2", one, 0);
    await writeFile(join(paths.recipeLayers("debian"), "torn.qcow2"), "QFI");
    await rm(one);
    await mkdir(paths.recipeStaging("mini", "k", "m").dir, { recursive: true });
    const { removed } = await collectBuildCache(paths, WEEK);
    expect(removed.toSorted()).toEqual([
      "debian/layers/l2",
      "debian/layers/torn",
      expect.stringContaining("mini/.k-m-"),
    ]);
  });

  it("knows what lies on what by any name of its folder", async () => {
    const base = await addMade("debian-base", "b1", 30);
    const other = join(paths.stateDir, "..", "other");
    await symlink(paths.cacheDir, other);
    await addLayer("l1", base.replace(paths.cacheDir, other), 0);
    expect((await collectBuildCache(paths, WEEK)).removed).toEqual([]);
    expect((await collectBuildCache(paths, ALL)).removed).toEqual(["debian/layers/l1", "debian-base/b1"]);
  });

  it("keeps what a build has marked, and a mark of what is gone is none", async () => {
    const base = await addMade("debian-base", "b1", 30);
    const one = await addLayer("l1", base, 30);
    await markUsed([one, "/nonexistent/layer"]);
    expect((await collectBuildCache(paths, { ...WEEK, nowMs: Date.now() })).removed).toEqual([]);
  });

  it("is left as it is while anybody builds, and builds wait for no more than its renames", async () => {
    await addMade("mini", "m1", 30);
    {
      using builds = new DisposableStack();
      for (let i = 0; i < 2; i++) builds.use(await useBuildCache(paths, undefined));
      const report = await collectBuildCache(paths, ALL);
      expect(report).toEqual({ removed: [], freedBytes: 0, leftBytes: expect.any(Number), busy: true });
      expect(report.leftBytes).toBeGreaterThan(0);
    }
    expect((await collectBuildCache(paths, ALL)).removed).toEqual(["mini/m1"]);
  });

  it("is collected by two at a time, each thing by one of them", async () => {
    for (let i = 0; i < 20; i++) await addMade("mini", `m${i}`, 30);
    const reports = await Promise.all([collectBuildCache(paths, ALL), collectBuildCache(paths, ALL)]);
    expect(reports.flatMap(({ removed }) => removed)).toHaveLength(20);
    expect(await hidden()).toEqual([]);
  });

  it("has no layer without the one below when its collection is killed, and the next one ends it", async () => {
    const module = join(import.meta.dirname, "../../lib/substrate/build-cache.ts");
    const host2 = join(import.meta.dirname, "../../lib/host/index.ts");
    const script = `
      import { collectBuildCache } from ${JSON.stringify(module)};
      import { Paths } from ${JSON.stringify(host2)};
      console.log("begin");
      await collectBuildCache(new Paths(${JSON.stringify(host.directories)}), ${JSON.stringify({ ...ALL, maxBytes: 0 })});
    `;
    const flags = ["--disable-warning=ExperimentalWarning", "--input-type=module-typescript"];
    for (const afterMs of [0, 10, 20, 40]) {
      let below = await addMade("debian-base", "b1", 30);
      for (let i = 0; i < 60; i++) below = await addLayer(`l${i}`, below, 30);
      const child = spawn(process.execPath, [...flags, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
      const exited = once(child, "exit");
      await once(child.stdout, "data");
      await delay(afterMs);
      child.kill("SIGKILL");
      await exited;
      for (const layer of await layers()) {
        const on = (await qcow2BackingFile(join(paths.recipeLayers("debian"), layer))) ?? "none";
        expect((await lstat(on)).isFile(), `${layer} is on ${basename(on)}`).toBe(true);
      }
      await collectBuildCache(paths, ALL);
      expect([await layers(), await hidden()]).toEqual([[], []]);
    }
  });
});
