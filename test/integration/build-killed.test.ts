import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Paths } from "../../lib/host/index.ts";
import { runTool } from "../../lib/host/run-tool.ts";
import { Pool } from "../../lib/index.ts";
import { recipeFromFile } from "../../lib/substrate/index.ts";
import { eventually } from "../support/eventually.ts";
import { labDirectories } from "../support/lab.ts";
import { expectNothingLeft, processesNaming } from "../support/nothing-left.ts";

const TIMEOUT_MS = 300_000;
/** Debian is downloaded, and booted three times. */
const LAYERS_TIMEOUT_MS = 900_000;
const LIBRARY = new URL("../../lib/index.ts", import.meta.url).href;
/** Its own, so that nothing of it is made yet. */
const PACKAGE = "tree";

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "vm-killed-"));
  await writeFile(join(dir, "tree.yaml"), `from: debian\npackages: [${PACKAGE}]\n`);
});
afterAll(() => rm(dir, { recursive: true, force: true }));
const directories = () => ({ stateDir: join(dir, "state"), cacheDir: labDirectories().cacheDir });

/** A process of its own that builds, until it has said for the n-th time that it is at a step. */
async function startBuilder(recipe: string, step: string, times = 1): Promise<ChildProcess> {
  const script = `
    import { Pool } from ${JSON.stringify(LIBRARY)};
    const pool = await Pool.open(${JSON.stringify(directories())});
    const onProgress = ({ step }) => console.log(step);
    await pool.build({ recipeFile: ${JSON.stringify(join(dir, recipe))}, onProgress });
  `;
  const argv = ["--input-type=module-typescript", "--eval", script];
  const builder = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
  const steps = createInterface({ input: builder.stdout }); // read on to the end: it goes on talking
  let seen = 0;
  await new Promise<void>((resolve) => steps.on("line", (line) => line === step && ++seen === times && resolve()));
  return builder;
}

/** Those that have an argument with a text in it, by their numbers. */
async function processesWith(text: string): Promise<string[]> {
  const numbers = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    numbers.map(async (pid) => [pid, await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "")] as const),
  );
  return lines.filter(([, line]) => line.includes(text)).map(([pid]) => pid);
}

/** Where mmdebstrap works. */
const bases = () => join(directories().cacheDir, "recipes/debian-base");

async function stagings(): Promise<string[]> {
  return (await readdir(bases()).catch(() => [])).filter((name) => name.startsWith("."));
}

/** What of the guest's root is there already. */
async function unpacked(staging: string): Promise<string[]> {
  const work = join(bases(), staging, "work");
  const roots = (await readdir(work).catch(() => [])).filter((name) => name.startsWith("mmdebstrap."));
  return (await Promise.all(roots.map((name) => readdir(join(work, name))))).flat();
}

test(
  "a builder is killed while mmdebstrap works: that ends as well, and the next build takes away what both left",
  async () => {
    const before = await stagings();
    const builder = await startBuilder("tree.yaml", "download");
    const [staging = "none"] = (await stagings()).filter((name) => !before.includes(name));
    await eventually(async () => expect(await unpacked(staging)).toContain("usr"), 120_000);
    expect(await processesWith(staging)).not.toEqual([]);
    builder.kill("SIGKILL");
    await once(builder, "exit");
    await eventually(async () => expect(await processesWith(staging)).toEqual([]), 60_000);
    expect(await readFile("/proc/mounts", "utf8")).not.toContain(staging);
    await expectNothingLeft(directories());
    {
      await using pool = await Pool.open(directories());
      const aborting = new AbortController();
      const onProgress = ({ step }: { readonly step: string }) => void (step === "download" && aborting.abort());
      const building = pool.build({ recipeFile: join(dir, "tree.yaml"), onProgress, signal: aborting.signal });
      await expect(building).rejects.toMatchObject({ code: "ABORTED" });
    }
    expect(await stagings()).toEqual(before);
    await expectNothingLeft(directories());
  },
  TIMEOUT_MS,
);

/** Those of this recipe alone: the cache is shared. */
async function layersOf(recipeFile: string): Promise<string[]> {
  const { recipe } = await recipeFromFile(recipeFile);
  const [, ...layers] = (await recipe.ingredients?.(new Paths(directories()))) ?? [];
  return layers.filter((file) => existsSync(file));
}

test(
  "a builder is killed in a recipe's step: its QEMU ends with the next opening, no layer is left, and the next build has all",
  async () => {
    const recipeFile = join(dir, "steps.yaml");
    await writeFile(recipeFile, "from: debian\nrun: [sleep 1; echo killed > /srv/one, sleep 1; echo > /srv/two]\n");
    // In the second step: the first one's layer is whole, and not shown yet. test/substrate/recipes/make-layers.test.ts has the others.
    const builder = await startBuilder("steps.yaml", "step", 2);
    builder.kill("SIGKILL");
    await once(builder, "exit");
    expect(await layersOf(recipeFile)).toEqual([]);
    expect(await processesNaming([new Paths(directories()).sharedMemoryDir])).toHaveLength(1);
    {
      await using pool = await Pool.open(directories());
      expect(pool.vms).toEqual([]);
    }
    await expectNothingLeft(directories());
    {
      await using pool = await Pool.open(directories());
      expect(await pool.build({ recipeFile })).toMatchObject({ name: "steps", version: 1 });
    }
    const layers = await layersOf(recipeFile);
    expect(layers).toHaveLength(2);
    for (const layer of layers) await runTool(["qemu-img", "check", "-q", layer], { timeoutMs: 60_000 });
    const made = await readdir(join(directories().cacheDir, "recipes/debian"));
    expect(made.filter((name) => name.startsWith("."))).toEqual([]);
    await expectNothingLeft(directories());
  },
  LAYERS_TIMEOUT_MS,
);
