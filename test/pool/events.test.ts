import { describe, expect, it } from "vitest";
import { VmSubstrateError } from "../../lib/core/index.ts";
import type { DockStatus, Pool } from "../../lib/pool/index.ts";
import { miniRecipe } from "../../lib/substrate/recipes/mini.ts";
import { eventually } from "../support/eventually.ts";
import { openFakePool } from "../support/fake-host.ts";
import { addFakeGuestFiles, addFakeSubstrate } from "../support/fake-substrate.ts";
import { activateOne } from "../support/vms.ts";

const SPEC = { substrate: "fake" };

/** What is told of docks, in order: a status, or "undocked NAME@VERSION". */
function newsOfDocks(pool: Pool): (DockStatus | string)[] {
  const seen: (DockStatus | string)[] = [];
  pool.events.on("dock", (status) => void seen.push(status));
  pool.events.on("undocked", ({ substrate, version }) => void seen.push(`undocked ${substrate}@${version}`));
  return seen;
}

function failures(pool: Pool): unknown[] {
  const seen: unknown[] = [];
  pool.events.on("failed", (call) => void seen.push(call));
  return seen;
}

describe("a dock", () => {
  it("is told of when it changes, the last time as it is, and never twice the same", async () => {
    await using fake = await openFakePool();
    const seen = newsOfDocks(fake.pool);
    await fake.pool.dock("fake", { min: 2, primed: false });
    await fake.pool.docked("fake", { count: 2 });
    await eventually(() => expect(seen.at(-1)).toMatchObject({ ready: 2, starting: 0 }));
    expect(seen[0]).toMatchObject({ substrate: "fake", version: 1, ready: 0, target: 2, min: 2, breaker: "closed" });
    const texts = seen.map((status) => JSON.stringify(status));
    expect(texts.filter((text, i) => text === texts[i - 1])).toEqual([]);
    await fake.pool.activate(1, SPEC);
    await eventually(() => expect(seen.some((one) => typeof one === "object" && one.ready === 1)).toBe(true));
  });

  it("whose clones do not start is told of with its failures and the last error", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { load: "die" } });
    const seen = newsOfDocks(fake.pool);
    await fake.pool.dock("fake", { min: 1 });
    const failed = { failures: 1, lastError: expect.stringContaining("QEMU ended") };
    await eventually(() => expect(seen).toContainEqual(expect.objectContaining(failed)));
  });

  it("that is taken away is told of once more, and not again", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1, primed: false });
    await fake.pool.docked("fake", { count: 1 });
    const seen = newsOfDocks(fake.pool);
    await fake.pool.undock("fake");
    await fake.pool.undock("fake");
    await new Promise(setImmediate);
    expect(seen.filter((one) => typeof one === "string")).toEqual(["undocked fake@1"]);
    expect(seen.at(-1)).toBe("undocked fake@1");
  });

  it("that is replaced for a new version is told of with that", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 0, max: 1 });
    const seen = newsOfDocks(fake.pool);
    await addFakeGuestFiles(fake.host.paths, miniRecipe);
    await fake.pool.build({ recipe: "mini", name: "fake" });
    await eventually(() => expect(seen.at(-1)).toMatchObject({ version: 2, max: 1 }));
    expect(seen.filter((one) => typeof one === "string")).toEqual([]);
  });
});

describe("substrates", () => {
  it("are told of when a version is built or removed, and not when it was there", async () => {
    await using fake = await openFakePool();
    await addFakeGuestFiles(fake.host.paths, miniRecipe);
    const seen: unknown[] = [];
    fake.pool.events.on("built", (substrate) => void seen.push(substrate));
    fake.pool.events.on("removed", (version) => void seen.push(version));
    const built = await fake.pool.build({ recipe: "mini" });
    await fake.pool.build({ recipe: "mini" });
    await fake.pool.removeSubstrate("mini");
    await addFakeSubstrate(fake.host.paths, { version: 2 });
    await fake.pool.pruneSubstrates({ keep: 1 });
    const { reused: _, ...info } = built;
    expect(seen).toEqual([info, { name: "mini", version: 1 }, { name: "fake", version: 1 }]);
  });

  it("are told of when they are imported, unless they were there", async () => {
    await using fake = await openFakePool();
    const seen: string[] = [];
    fake.pool.events.on("built", ({ name, version }) => void seen.push(`${name}@${version}`));
    const file = `${fake.host.directories.stateDir}/fake.tar.zst`;
    await fake.pool.exportSubstrate("fake", file);
    await fake.pool.importSubstrate(file, { name: "copied" });
    await fake.pool.importSubstrate(file, { name: "copied" });
    expect(seen).toEqual(["copied@1"]);
  });
});

describe("extended", () => {
  it("is told when a VM's expiry was changed, and not when that was refused", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool, { ...SPEC, maxLifetimeMs: 60_000 });
    const seen: (number | undefined)[] = [];
    fake.pool.events.on("extended", (extended) => {
      expect(extended).toBe(vm);
      seen.push(extended.expiresAt?.getTime());
    });
    const at = await vm.extend(30_000);
    await expect(vm.extend(90_000)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(seen).toHaveLength(1);
    expect(Math.abs((seen[0] ?? 0) - at.getTime())).toBeLessThan(100);
  });
});

describe("failed", () => {
  it("is told of a call, once, with the error that its caller gets", async () => {
    await using fake = await openFakePool();
    const seen = failures(fake.pool);
    const error = await fake.pool
      .activate(2, { ...SPEC, run: { argv: ["false"] } }, { callId: "call-1" })
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(VmSubstrateError);
    expect(seen).toEqual([{ callId: "call-1", what: "activate", substrate: "fake", count: 2, error }]);
  });

  it("is told of each VM that a settled call could not make", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = (vm) => (vm < 2 ? { at: { load: "die" } } : {});
    const seen = failures(fake.pool);
    const outcomes = await fake.pool.activateSettled(3, SPEC);
    const errors = outcomes.flatMap((outcome) => ("error" in outcome ? [outcome.error] : []));
    expect(errors).toHaveLength(2);
    expect(seen).toMatchObject(errors.map((error) => ({ what: "activate", substrate: "fake", count: 1, error })));
  });

  it("is told of cold boots and forks", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await vm.park();
    const seen = failures(fake.pool);
    await expect(vm.fork(2, { callId: "fork-1" })).rejects.toMatchObject({ code: "VM_PARKED" });
    await expect(fake.pool.coldBoot(1, { substrate: "none" })).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
    expect(seen).toMatchObject([
      { callId: "fork-1", what: "fork", substrate: "fake@1", count: 2, error: { code: "VM_PARKED" } },
      { what: "coldBoot", substrate: "none", count: 1, error: { code: "SUBSTRATE_NOT_FOUND" } },
    ]);
  });

  it("is not told of a call that was refused as invalid, nor of one that another has made", async () => {
    await using fake = await openFakePool();
    const seen = failures(fake.pool);
    await expect(fake.pool.activate(0, SPEC)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const keyed = { ...SPEC, run: { argv: ["false"] }, idempotencyKey: "once" };
    const calls = await Promise.allSettled([fake.pool.activate(1, keyed), fake.pool.activate(1, keyed)]);
    expect(calls.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(seen).toHaveLength(1);
  });
});

describe("a listener that throws", () => {
  it("fails no call and no dock", async () => {
    await using fake = await openFakePool();
    const warnings: unknown[] = [];
    const warned = (warning: Error) => void warnings.push(warning.message);
    process.on("warning", warned);
    for (const event of ["dock", "failed", "undocked"] as const) {
      fake.pool.events.on(event, () => {
        throw new Error(`the listener's own, of ${event}`);
      });
    }
    await fake.pool.dock("fake", { min: 1, primed: false });
    await fake.pool.docked("fake", { count: 1 });
    await expect(fake.pool.activate(1, { substrate: "none" })).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
    expect(await fake.pool.undock("fake")).toBe(true);
    await new Promise(setImmediate);
    process.off("warning", warned);
    for (const event of ["dock", "failed", "undocked"]) expect(warnings).toContain(`the listener's own, of ${event}`);
  });
});
