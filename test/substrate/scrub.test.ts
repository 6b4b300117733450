import { readFile, rm } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Catalog, Pace, scrub } from "../../lib/substrate/index.ts";
import { FakeHost } from "../support/fake-host.ts";
import { addFakeSubstrate, rewrite } from "../support/fake-substrate.ts";

const FAKE = { name: "fake", version: 1 };
let host: FakeHost;
let catalog: Catalog;
beforeEach(async () => {
  host = await FakeHost.create();
  await addFakeSubstrate(host.paths);
  catalog = new Catalog(host.paths);
});
afterEach(() => host[Symbol.asyncDispose]());

const scrubbed = (signal?: AbortSignal) => scrub(FAKE, catalog, { pace: new Pace(Number.POSITIVE_INFINITY), signal });

describe("scrub", () => {
  it("reads all of a substrate that is as it was frozen", async () => {
    const { files } = await addFakeSubstrate(host.paths, { name: "other" });
    const bytes = Object.values(files).reduce((sum, file) => sum + (file?.sizeBytes ?? 0), 0);
    expect(await scrubbed()).toEqual({ ...FAKE, state: "ok", damage: [], bytes });
  });

  it("names every damaged file, and what is wrong with it", async () => {
    const files = host.paths.substrate("fake", 1);
    const ram = await readFile(files.ram);
    ram[5000] = 1;
    await rewrite(files.ram, ram);
    await rewrite(files.state, "short");
    await rm(files.helper);
    const { state, damage } = await scrubbed();
    expect(state).toBe("damaged");
    expect(damage).toEqual([
      { file: files.state, reason: expect.stringMatching(/^5 bytes, expected/) },
      { file: files.helper, reason: expect.stringContaining("ENOENT") },
      { file: files.ram, reason: expect.stringMatching(/^SHA-256 .* expected/) },
    ]);
  });

  it("names a manifest that cannot be read", async () => {
    const { manifest } = host.paths.substrate("fake", 1);
    await rewrite(manifest, "{");
    expect(await scrubbed()).toMatchObject({ state: "damaged", damage: [{ file: manifest }], bytes: 0 });
  });

  it("ends when it is aborted, which is no damage", async () => {
    await expect(scrubbed(AbortSignal.abort())).rejects.toMatchObject({ code: "ABORTED" });
    const stopping = new AbortController();
    const pace = new Pace(1, {
      now: () => 0,
      wait: async (_ms, signal) => {
        stopping.abort();
        signal?.throwIfAborted();
      },
    });
    await expect(scrub(FAKE, catalog, { pace, signal: stopping.signal })).rejects.toMatchObject({ code: "ABORTED" });
  });
});
