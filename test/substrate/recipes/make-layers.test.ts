import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { ensurePrivateDir, qcow2BackingFile } from "../../../lib/host/index.ts";
import { runTool } from "../../../lib/host/run-tool.ts";
import { recipeFromFile } from "../../../lib/substrate/index.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeHost } from "../../support/fake-host.ts";
import { createDisk } from "../../support/fake-substrate.ts";
import { expectNothingLeft } from "../../support/nothing-left.ts";
import { PoolOwner } from "../../support/pool-owner-process.ts";

const TIMEOUT_MS = 60_000;
/** A recipe file, and so an extra layer for each of these. */
const STEPS = 3;

let host: FakeHost;
let dir = "";
let recipeFile = "";
beforeEach(async () => {
  host = await FakeHost.create();
  dir = await mkdtemp(join(tmpdir(), "layers-"));
  recipeFile = join(dir, "web.yaml");
  await writeFile(recipeFile, "from: debian\nmemoryMiB: 128\nrun: [one, two, three]\n");
  await addBase();
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

/** What mmdebstrap would have made. */
async function addBase(): Promise<void> {
  const { recipe } = await recipeFromFile(recipeFile);
  const [base = ""] = (await recipe.ingredients?.(host.paths)) ?? [];
  await ensurePrivateDir(host.paths.cacheDir);
  await mkdir(base, { recursive: true });
  await createDisk(join(base, "disk.qcow2"));
  for (const name of ["vmlinuz", "initrd", "helper"]) await writeFile(join(base, name), "fake\n");
}

const folder = () => host.paths.recipeLayers("debian");
const layers = async () => (await readdir(folder()).catch(() => [])).toSorted();
const stagings = async () => (await readdir(join(folder(), ".."))).filter((name) => name.startsWith("."));

/** Each is on another one or on the base, and as qemu-img wants it. */
async function expectWhole(): Promise<void> {
  for (const name of await layers()) {
    const file = join(folder(), name);
    expect((await qcow2BackingFile(file)) ?? "none").toMatch(/\/recipes\/debian(-base)?\/[^.]+\/?[^.]*\.qcow2$/);
    await runTool(["qemu-img", "check", "-q", "-f", "qcow2", file], { timeoutMs: 10_000 });
  }
}

const build = (env: NodeJS.ProcessEnv = {}) =>
  PoolOwner.begin({ options: host.options(), does: { recipeFile } }, { env });

/** The next build goes on from the layers that are whole, and leaves nothing else. */
async function expectNextBuild(): Promise<void> {
  const before = await layers();
  await expectWhole();
  const contents = await Promise.all(before.map((name) => readFile(join(folder(), name))));
  host.qemu.script = () => ({});
  {
    await using pool = await host.open();
    expect(await pool.build({ recipeFile })).toMatchObject({ name: "web", version: 1, reused: false });
  }
  await expectNothingLeft(host.paths);
  expect(await stagings()).toEqual([]);
  expect(await layers()).toHaveLength(STEPS);
  await expectWhole();
  const after = await Promise.all(before.map((name) => readFile(join(folder(), name))));
  expect(after.every((content, i) => contents[i]?.equals(content))).toBe(true);
}

describe("a builder that is killed while it makes layers", () => {
  it.each([1, 2, 3])(
    "in step %i has made none, and the next build makes all",
    { timeout: TIMEOUT_MS },
    async (step) => {
      host.qemu.script = () => ({ at: { layer: "hold" } });
      const owner = build();
      onTestFinished(() => owner[Symbol.asyncDispose]());
      const vm = await host.qemu.reached("layer");
      for (let done = 1; done < step; done++) {
        vm.pass("layer");
        await eventually(() => expect(vm.steps.filter((one) => one === "layer")).toHaveLength(done + 1));
      }
      await owner[Symbol.asyncDispose]();
      expect(await layers()).toEqual([]);
      expect(await stagings()).toHaveLength(1);
      await expectNextBuild();
    },
  );

  // qemu-img gives each layer its name in the chain, and at last makes one disk of them.
  it.each([
    ["before", 1, 0],
    ["after", 1, 0],
    ["before", 2, 1],
    ["after", 3, 2],
    ["before", 4, 3],
    ["after", 4, 3],
  ])(
    "%s call %i of qemu-img leaves %i layers, which the next build begins from",
    { timeout: TIMEOUT_MS },
    async (when, call, there) => {
      const count = join(dir, "calls");
      const kill = `if [ "$(wc -l < '${count}')" = ${call} ]; then kill -9 $PPID; fi`;
      const work = `PATH='${process.env.PATH}' qemu-img "$@"`;
      const lines = ["#!/bin/sh", `echo >> '${count}'`, ...(when === "before" ? [kill, work] : [work, kill])];
      await writeFile(join(dir, "qemu-img"), `${lines.join("\n")}\n`, { mode: 0o755 });
      await using owner = build({ PATH: `${dir}:${process.env.PATH}` });
      await owner.ended();
      expect(owner.process.signalCode).toBe("SIGKILL");
      expect(await layers()).toHaveLength(there);
      await expectNextBuild();
    },
  );
});

describe("layers that somebody else has made meanwhile", () => {
  it("stay, and the build that was slower goes on with its own", { timeout: TIMEOUT_MS }, async () => {
    await using other = await FakeHost.create();
    const { cacheDir } = host.directories;
    await using pool = await host.open();
    host.qemu.script = (vm) => (vm === 0 ? { at: { layer: "hold" } } : {});
    const building = pool.build({ recipeFile });
    building.catch(() => {});
    const vm = await host.qemu.reached("layer");
    {
      await using faster = await other.open({ cacheDir });
      expect(await faster.build({ recipeFile })).toMatchObject({ reused: false });
    }
    const theirs = await Promise.all((await layers()).map((name) => readFile(join(folder(), name))));
    expect(theirs).toHaveLength(STEPS);
    await vm.follow({});
    vm.pass("layer");
    expect(await building).toMatchObject({ name: "web", reused: false });
    expect(await Promise.all((await layers()).map((name) => readFile(join(folder(), name))))).toEqual(theirs);
    expect(await stagings()).toEqual([]);
  });

  it("are not built upon when the one below them is gone, and are removed by gc", { timeout: TIMEOUT_MS }, async () => {
    await using pool = await host.open();
    await pool.build({ recipeFile });
    const { recipe } = await recipeFromFile(recipeFile);
    const [, lowest = "", ...above] = (await recipe.ingredients?.(host.paths)) ?? [];
    const before = await Promise.all(above.map((file) => readFile(file)));
    await rm(lowest);
    await rm(host.paths.recipeCache("debian", await recipe.inputsKey()).dir, { recursive: true });
    await pool.build({ recipeFile, name: "again" });
    expect(await layers()).toEqual(above.map((file) => basename(file)).toSorted());
    expect(await Promise.all(above.map((file) => readFile(file)))).toEqual(before);
    const { removed } = (await pool.gc()).cache;
    expect(removed.toSorted()).toEqual(above.map((file) => `debian/layers/${basename(file, ".qcow2")}`).toSorted());
  });
});
