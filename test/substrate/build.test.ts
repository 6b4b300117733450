import { readdir, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "../../lib/core/index.ts";
import { ensurePrivateDir } from "../../lib/host/index.ts";
import { buildSubstrate, Catalog, LoadedSubstrate, type Recipe } from "../../lib/substrate/index.ts";
import { FakeHost } from "../support/fake-host.ts";
import { FAKE_QEMU } from "../support/fake-qemu-control.ts";
import type { FakeScript } from "../support/fake-qemu-script.ts";
import { addFakeGuestFiles, FAKE_GUEST } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

let host: FakeHost;
const inputs = { key: "key1" };
const recipe: Recipe = { guest: FAKE_GUEST, inputsKey: async () => inputs.key, make: async () => {} };

beforeEach(async () => {
  host = await FakeHost.create();
  inputs.key = "key1";
  const { stateDir, runtimeDir, sharedMemoryDir, substrates, vms } = host.paths;
  for (const dir of [stateDir, runtimeDir, sharedMemoryDir, substrates, vms]) await ensurePrivateDir(dir);
  await addFakeGuestFiles(host.paths, recipe);
});
afterEach(() => host[Symbol.asyncDispose]());

const steps: string[] = [];
function build(signal?: AbortSignal) {
  steps.length = 0;
  return buildSubstrate("fake", recipe, {
    paths: host.paths,
    qemu: { path: host.qemu.path, ...FAKE_QEMU },
    logger: silentLogger,
    progress: (step) => steps.push(step),
    signal,
    reuse: true,
    accelerator: "tcg",
  });
}

describe("buildSubstrate", () => {
  it("boots, generalizes, freezes and digests a guest, and leaves the substrate alone", async () => {
    const { substrate, reused } = await build();
    expect(reused).toBe(false);
    expect(substrate.manifest).toMatchObject({
      name: "fake",
      version: 1,
      qemu: FAKE_QEMU,
      memory: { assignedBytes: 2 ** 20, usedBytes: 25_000 * 1024, residentBytes: 4096 },
    });
    expect(steps).toEqual(["accelerator", "boot", "ready", "generalize", "miniaturize", "freeze", "digest", "done"]);
    expect((await readFile(substrate.paths.state, "latin1")).startsWith("QEVM")).toBe(true);
    for (const name of await readdir(substrate.paths.dir)) {
      expect((await stat(`${substrate.paths.dir}/${name}`)).mode & 0o777, name).toBe(0o400);
    }
    await expectNothingLeft(host.paths);
    expect(await new Catalog(host.paths).latest("fake")).toEqual(substrate);
    await using loaded = await LoadedSubstrate.load(substrate, host.paths, { path: host.qemu.path, ...FAKE_QEMU });
    await loaded.requireUntouched();
  });

  it("makes a new version only when something that it is made of has changed", async () => {
    await build();
    expect((await build()).reused).toBe(true);
    expect(host.qemu.vms).toHaveLength(1);
    inputs.key = "key2";
    await addFakeGuestFiles(host.paths, recipe);
    expect((await build()).substrate.manifest.version).toBe(2);
    expect(await new Catalog(host.paths).versions("fake")).toEqual([2, 1]);
  });

  it.each<[string, FakeScript, string, RegExp]>([
    ["QEMU does not start", { at: { start: "die" } }, "QEMU_EXITED", /start/],
    ["QEMU ends while the guest boots", { at: { agent: "die" } }, "QEMU_EXITED", /build/],
    [
      "the console is long",
      { console: `${"x".repeat(5000)}the end`, at: { migrate: "fail" } },
      "BUILD_FAILED",
      /"x{4089}the end"/,
    ],
    ["the state cannot be saved", { at: { migrate: "fail" } }, "BUILD_FAILED", /fake console: ready/],
  ])("leaves nothing when %s", async (_, script, code, message) => {
    host.qemu.script = () => script;
    await expect(build()).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    await expectNothingLeft(host.paths);
    expect(await new Catalog(host.paths).list()).toEqual([]);
  });

  it("boots a guest again whose clock runs wrong, and gives up when it does so three times", async () => {
    host.qemu.script = (index) => (index === 0 ? { clockRate: 9 } : {});
    expect((await build()).substrate.manifest.version).toBe(1);
    expect(steps.filter((step) => step === "boot")).toHaveLength(2);
    inputs.key = "key2";
    await addFakeGuestFiles(host.paths, recipe);
    host.qemu.script = () => ({ clockRate: 0.1 });
    const runsSlow = { code: "BUILD_FAILED", message: expect.stringMatching(/clock runs at 0\.\d\d times real time/) };
    await expect(build()).rejects.toMatchObject(runsSlow);
    await expectNothingLeft(host.paths);
  });

  it("leaves nothing when the caller gives up", async () => {
    for (const step of ["greeting", "agent", "migrate"] as const) {
      host.qemu.script = () => ({ at: { [step]: "hold" } });
      const controller = new AbortController();
      const building = build(controller.signal);
      building.catch(() => {});
      await host.qemu.reached(step, host.qemu.vms.length === 0 ? 0 : undefined);
      controller.abort();
      await expect(building, step).rejects.toMatchObject({ code: "ABORTED" });
      await expectNothingLeft(host.paths);
      host.qemu.vms.length = 0;
    }
    expect(await readdir(dirname(host.paths.substrate("fake", 1).dir)).catch(() => [])).toEqual([]);
  });
});
