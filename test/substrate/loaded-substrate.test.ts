import { chmod, readdir, readFile, rm, stat, utimes } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ensurePrivateDir, type SubstratePaths } from "../../lib/host/index.ts";
import { Catalog, LoadedSubstrate } from "../../lib/substrate/index.ts";
import { FakeHost } from "../support/fake-host.ts";
import { FAKE_QEMU } from "../support/fake-qemu-control.ts";
import { addFakeSubstrate, rewrite } from "../support/fake-substrate.ts";

let host: FakeHost;
let files: SubstratePaths;
beforeEach(async () => {
  host = await FakeHost.create();
  await addFakeSubstrate(host.paths);
  files = host.paths.substrate("fake", 1);

  await ensurePrivateDir(host.paths.sharedMemoryDir);
});
afterEach(() => host[Symbol.asyncDispose]());

async function load(signal?: AbortSignal): Promise<LoadedSubstrate> {
  const substrate = await new Catalog(host.paths).latest("fake");
  return LoadedSubstrate.load(substrate, host.paths, { path: host.qemu.path, ...FAKE_QEMU }, signal);
}

const inMemory = () => readdir(host.paths.sharedMemoryDir);
const FILES = ["ram", "state", "disk", "helper"] as const;

describe("LoadedSubstrate.load", () => {
  it("has a copy of the RAM in memory, until it is disposed", async () => {
    {
      await using loaded = await load();
      expect(await inMemory()).toEqual(["fake-1.ram"]);
      expect((await readFile(loaded.ramFile)).equals(await readFile(files.ram))).toBe(true);
      expect((await stat(loaded.ramFile)).mode & 0o077).toBe(0);
      await loaded.requireUntouched();
    }
    expect(await inMemory()).toEqual([]);
  });

  it("replaces the copy of a process that was killed", async () => {
    await rewrite(host.paths.loadedRam("fake", 1), "stale");
    await using loaded = await load();
    expect((await stat(loaded.ramFile)).size).toBe(2 ** 20);
  });

  const DAMAGE: Readonly<Record<string, (content: Buffer) => Buffer | undefined>> = {
    "with one bit flipped": (content) => {
      const copy = Buffer.from(content);
      const middle = Math.floor(copy.length / 2);
      copy[middle] = (copy[middle] ?? 0) ^ 1;
      return copy;
    },
    "with its last byte cut off": (content) => content.subarray(0, -1),
    "cut in half": (content) => content.subarray(0, content.length / 2),
    "with a byte more": (content) => Buffer.concat([content, Buffer.of(0)]),
    empty: () => Buffer.alloc(0),
    missing: () => undefined,
  };

  for (const file of FILES) {
    it.each(Object.entries(DAMAGE))(`refuses ${file} %s, and leaves nothing in memory`, async (_, damage) => {
      const content = damage(await readFile(files[file]));
      if (content === undefined) await rm(files[file]);
      else await rewrite(files[file], content);
      await expect(load()).rejects.toMatchObject({
        code: "SUBSTRATE_CORRUPT",
        details: { substrate: "fake", version: 1, file: files[file] },
      });
      expect(await inMemory()).toEqual([]);
    });
  }

  it("refuses a flipped bit in any place of the RAM", async () => {
    const content = await readFile(files.ram);
    for (const at of [0, 4095, 4096, 16_384, content.length - 1]) {
      const copy = Buffer.from(content);
      copy[at] = (copy[at] ?? 0) ^ 0x80;
      await rewrite(files.ram, copy);
      await expect(load(), `byte ${at}`).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT" });
    }
    expect(await inMemory()).toEqual([]);
  });

  it("stops when told to, and leaves nothing in memory", async () => {
    await expect(load(AbortSignal.abort(new Error("enough")))).rejects.toThrow();
    expect(await inMemory()).toEqual([]);
  });
});

describe("requireUntouched", () => {
  it.each(FILES.filter((file) => file !== "ram"))("notices a later change of %s", async (file) => {
    await using loaded = await load();
    const { atime, mtime } = await stat(files[file]);
    await rewrite(files[file], await readFile(files[file]));
    await utimes(files[file], atime, mtime); // as somebody would who hides it
    await expect(loaded.requireUntouched()).rejects.toMatchObject({
      code: "SUBSTRATE_CORRUPT",
      details: { file: files[file] },
    });
  });

  it("notices a change of the RAM in memory, even one that was taken back, and its absence", async () => {
    await using loaded = await load();
    const { mode } = await stat(loaded.ramFile);
    await chmod(loaded.ramFile, 0o600);
    await chmod(loaded.ramFile, mode);
    await expect(loaded.requireUntouched()).rejects.toMatchObject({ details: { file: loaded.ramFile } });
    await rm(loaded.ramFile);
    await expect(loaded.requireUntouched()).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT" });
  });
});
