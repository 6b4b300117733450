import { mkdir, stat, utimes } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { miniRecipe } from "../../lib/substrate/recipes/mini.ts";
import { FakeHost, openFakePool } from "../support/fake-host.ts";
import { addFakeGuestFiles } from "../support/fake-substrate.ts";
import { NOTHING_COLLECTED } from "../support/nothing-left.ts";

const LONG_AGO = new Date("2026-01-01");
const BUSY = { ...NOTHING_COLLECTED, cache: { ...NOTHING_COLLECTED.cache, busy: true } };

describe("gc of what builds keep", () => {
  it("removes what no build has needed for 30 days, and a build counts for all that it finds", async () => {
    await using fake = await openFakePool();
    const { paths } = fake.host;
    await addFakeGuestFiles(paths, miniRecipe);
    const used = paths.recipeCache("mini", await miniRecipe.inputsKey()).dir;
    const unused = paths.recipeCache("mini", "old").dir;
    await mkdir(unused);
    for (const dir of [used, unused]) await utimes(dir, LONG_AGO, LONG_AGO);
    await fake.pool.build({ recipe: "mini" });
    expect((await fake.pool.gc()).cache).toMatchObject({ removed: ["mini/old"], busy: false });
    const { cache } = await fake.pool.gc({ cacheMaxMiB: 0 });
    expect(cache).toMatchObject({ removed: [expect.stringMatching(/^mini\/\w{16}$/)], leftBytes: 0 });
    expect(cache.freedBytes).toBeGreaterThan(0);
    await expect(stat(used)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("waits for a build of its own pool, and leaves the cache to one of another", async () => {
    await using fake = await openFakePool();
    await using other = await FakeHost.create();
    const { cacheDir } = fake.host.directories;
    await using pool = await other.open({ cacheDir });
    fake.qemu.script = () => ({ at: { load: "hold", greeting: "hold" } });
    await addFakeGuestFiles(fake.host.paths, miniRecipe);
    const stopping = new AbortController();
    const begun = Promise.withResolvers<void>();
    const onProgress = ({ step }: { readonly step: string }) => void (step === "boot" && begun.resolve());
    const building = fake.pool.build({ recipe: "mini", onProgress, signal: stopping.signal });
    building.catch(() => {});
    await begun.promise;
    expect(await pool.gc({ cacheUnusedForMs: 0 })).toEqual(BUSY);
    const own = fake.pool.gc({ cacheUnusedForMs: 0 });
    stopping.abort();
    await expect(building).rejects.toMatchObject({ code: "ABORTED" });
    expect((await own).cache).toMatchObject({ removed: [expect.stringMatching(/^mini\//)], busy: false });
  });

  it.each([{ cacheUnusedForMs: -1 }, { cacheMaxMiB: 0.5 }, { all: true }])("refuses %j", async (options) => {
    await using fake = await openFakePool();
    await expect(fake.pool.gc(options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
