import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Catalog } from "../../lib/substrate/index.ts";
import { FakeHost } from "../support/fake-host.ts";
import { addFakeSubstrate, rewrite } from "../support/fake-substrate.ts";

let host: FakeHost;
let catalog: Catalog;
beforeEach(async () => {
  host = await FakeHost.create();
  catalog = new Catalog(host.paths);
});
afterEach(() => host[Symbol.asyncDispose]());

describe("Catalog", () => {
  it("is empty before the first build", async () => {
    expect(await catalog.list()).toEqual([]);
    expect(await catalog.find("fake")).toBeUndefined();
    await expect(catalog.latest("fake")).rejects.toMatchObject({
      code: "SUBSTRATE_NOT_FOUND",
      message: expect.stringContaining("there is none yet"),
    });
  });

  it("lists names in order and versions newest first, by number", async () => {
    for (const [name, version] of [
      ["b", 1],
      ["a", 2],
      ["a", 10],
      ["a", 9],
    ] as const) {
      await addFakeSubstrate(host.paths, { name, version });
    }
    const found = (await catalog.list()).map(({ manifest }) => `${manifest.name} ${manifest.version}`);
    expect(found).toEqual(["a 10", "a 9", "a 2", "b 1"]);
    expect((await catalog.latest("a")).manifest.version).toBe(10);
    await expect(catalog.latest("c")).rejects.toMatchObject({ details: { name: "c", known: ["a", "b"] } });
  });

  it("sees nothing of what is still being made, and can remove it", async () => {
    await addFakeSubstrate(host.paths);
    await mkdir(host.paths.substrateStaging("fake", "x").dir);
    expect(await catalog.list()).toHaveLength(1);
    await catalog.removeAbandoned();
    expect(await readdir(host.paths.substrates)).toEqual(["fake"]);
  });

  it("says what is damaged, rather than leaving it out", async () => {
    await addFakeSubstrate(host.paths);
    const { manifest, dir } = host.paths.substrate("fake", 1);
    await rewrite(manifest, "{");
    await expect(catalog.list()).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT", details: { where: manifest } });
    await rm(manifest);
    const message = expect.stringContaining(`remove ${dir}`);
    await expect(catalog.latest("fake")).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT", message });
  });

  it("gives no number twice, also that of a version that was removed", async () => {
    expect(await catalog.nextVersion("fake")).toBe(1);
    for (const version of [1, 2, 3]) await addFakeSubstrate(host.paths, { version });
    await catalog.remove("fake", 1);
    expect(await catalog.nextVersion("fake")).toBe(4);
    await catalog.remove("fake", 3);
    expect(await catalog.nextVersion("fake")).toBe(4);
    expect(await catalog.versions("fake")).toEqual([2]);
    await catalog.remove("fake", 2);
    expect(await catalog.nextVersion("fake")).toBe(4);
    expect(await catalog.all()).toEqual([]);
    await expect(catalog.latest("fake")).rejects.toMatchObject({ details: { known: [] } });
    expect(await readdir(join(host.paths.substrates, "fake"))).toEqual([".removed-3"]);
  });

  it("overlooks what is no version", async () => {
    await addFakeSubstrate(host.paths);
    await writeFile(join(dirname(host.paths.substrate("fake", 1).dir), "notes.txt"), "");
    expect(await catalog.versions("fake")).toEqual([1]);
  });

  it("refuses a substrate whose manifest is another's", async () => {
    await addFakeSubstrate(host.paths, { name: "a" });
    await cp(join(host.paths.substrates, "a"), join(host.paths.substrates, "b"), { recursive: true });
    await expect(catalog.latest("b")).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT" });
  });
});
