import { describe, expect, it } from "vitest";
import type { DockStatus, PoolOptions } from "../../lib/pool/index.ts";
import { EmbeddedStore } from "../../lib/store/index.ts";
import { FakeHost } from "../support/fake-host.ts";
import { addFakeSubstrate, rewrite } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";

/** Each owner is killed after it has said so many lines. */
const KILLED_AFTER = [1, 2, 3, 4, 7, 12];

async function hostWithSubstrate(): Promise<FakeHost> {
  const host = await FakeHost.create();
  await addFakeSubstrate(host.paths);
  return host;
}

/** What the docks are to hold after the directory was opened once more, and closed. */
async function docksOf(host: FakeHost, options: PoolOptions): Promise<readonly DockStatus[]> {
  await using pool = await host.open(options);
  return pool.docks;
}

function collect(lines: Record<string, unknown>[]) {
  const keep = (fields: Record<string, unknown>, message: string) => void lines.push({ ...fields, message });
  return { debug: () => {}, info: () => {}, warn: keep, error: keep };
}

/** The keys of the recorded docks. */
async function recorded(host: FakeHost): Promise<string[]> {
  await using store = await EmbeddedStore.open(host.paths.store);
  return (await store.list("docks/")).entries.map(({ key }) => key);
}

describe("an owner that restores docks", () => {
  it("sets them again as they were asked for, and does not wait for their clones", async () => {
    await using host = await hostWithSubstrate();
    const network = { subnet: "10.9.0.0/24", subnet6: "fd09::/64", reserved: ["10.9.0.1-10.9.0.9", "fd09::1"] };
    {
      await using pool = await host.open();
      await pool.dock("fake", { min: 2, max: 3, maxMiB: 512, hostname: "match-{index}", network });
      await pool.dock("fake@1", { min: 1, primed: false });
      await pool.docked("fake", { count: 2 });
    }
    const started = host.qemu.vms.length;
    host.qemu.script = (vm) => (vm === started ? { at: { start: "hold" } } : {});
    await using pool = await host.open({ docks: "restore" });
    expect(pool.docks).toMatchObject([
      { substrate: "fake", version: 1, pinned: false, min: 2, maxMiB: 512, primed: true, ready: 0 },
      { substrate: "fake", version: 1, pinned: true, min: 1, max: 1, primed: false, ready: 0 },
    ]);
    (await host.qemu.reached("start", started)).pass("start");
    await pool.docked("fake", { count: 2 });
    const [vm] = await pool.activate(1, { substrate: "fake", hostname: "match-{index}", network });
    expect(vm).toMatchObject({ origin: "docked", hostname: "match-0", address: "10.9.0.10", address6: "fd09::2" });
    expect(vm?.timings.phasesMs).toMatchObject({ overlay: 0, spawn: 0, load: 0 });
  });

  it("does so after a crash, and gives nobody the clones of before", async () => {
    await using host = await hostWithSubstrate();
    {
      await using owner = PoolOwner.begin({
        options: host.options(),
        does: "life",
        killAt: { failpoint: "dock.recorded", time: 1 },
      });
      await owner.ended();
    }
    await using pool = await host.open({ docks: "restore" });
    await pool.docked("fake", { count: 1 });
    expect(pool.docks).toMatchObject([{ ready: 1, min: 1, max: 1 }]);
    await pool.undock("fake");
    await expectNothingLeft(host.paths, { open: true });
  });

  it("finds a dock at the newest version, also one that was made since", async () => {
    await using host = await hostWithSubstrate();
    {
      await using pool = await host.open();
      await pool.dock("fake", { min: 0, max: 1 });
      await pool.dock("fake@1", { min: 0, max: 1 });
    }
    await addFakeSubstrate(host.paths, { version: 2 });
    expect((await docksOf(host, { docks: "restore" })).map(({ version, pinned }) => [version, pinned])).toEqual([
      [2, false],
      [1, true],
    ]);
  });

  it("has those that were changed or taken away last", async () => {
    await using host = await hostWithSubstrate();
    await addFakeSubstrate(host.paths, { name: "other" });
    {
      await using pool = await host.open();
      await pool.dock("fake", { min: 0, max: 4 });
      await Promise.all([pool.dock("fake", { min: 0, max: 5 }), pool.dock("fake", { min: 0, max: 6 })]);
      await pool.dock("other", { min: 0, max: 1 });
      await pool.undock("other");
      expect(pool.docks).toMatchObject([{ substrate: "fake", max: 6 }]);
    }
    expect(await docksOf(host, { docks: "restore" })).toMatchObject([{ substrate: "fake", max: 6 }]);
  });

  it("forgets the dock of a substrate that is removed", async () => {
    await using host = await hostWithSubstrate();
    {
      await using pool = await host.open();
      await pool.dock("fake", { min: 0 });
      await pool.removeSubstrate("fake");
    }
    expect(await recorded(host)).toEqual([]);
  });

  it("does not record what could not be docked", async () => {
    await using host = await hostWithSubstrate();
    {
      await using pool = await host.open();
      await expect(pool.dock("none", { min: 1 })).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
      await expect(pool.dock("fake", { min: -1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(await recorded(host)).toEqual([]);
  });

  it("opens without the docks that cannot be, says so, and keeps their records until they are taken away", async () => {
    await using host = await hostWithSubstrate();
    for (const name of ["damaged", "missing"]) await addFakeSubstrate(host.paths, { name });
    {
      await using pool = await host.open();
      for (const name of ["damaged", "fake", "missing"]) await pool.dock(name, { min: 0, max: 1 });
    }
    await rewrite(host.paths.substrate("damaged", 1).ram, "other bytes");
    await rewrite(host.paths.substrate("missing", 1).manifest, "");
    {
      await using store = await EmbeddedStore.open(host.paths.store);
      await store.transact({ writes: [{ put: "docks/unreadable", value: '{"min":-1}' }] });
    }
    const lines: Record<string, unknown>[] = [];
    {
      await using pool = await host.open({ docks: "restore", logger: collect(lines) });
      expect(pool.docks).toMatchObject([{ substrate: "fake" }]);
      const message = "a recorded dock was not set again";
      const ofDocks = lines.filter((line) => line.message === message).map(({ dock }) => dock);
      expect(ofDocks).toEqual(["damaged", "missing", "unreadable"]);
      expect(await pool.undock("missing")).toBe(true);
    }
    expect(await recorded(host)).toEqual(["docks/damaged", "docks/fake", "docks/unreadable"]);
  });
});

describe("an owner that does not", () => {
  it("has no docks, and forgets the records", async () => {
    await using host = await hostWithSubstrate();
    {
      await using pool = await host.open();
      await pool.dock("fake", { min: 0, max: 1 });
    }
    expect(await recorded(host)).toEqual(["docks/fake"]);
    expect(await docksOf(host, {})).toEqual([]);
    expect(await recorded(host)).toEqual([]);
    expect(await docksOf(host, { docks: "restore" })).toEqual([]);
  });

  it("cannot be told anything else", async () => {
    await using host = await hostWithSubstrate();
    await expect(host.open({ docks: "keep" as never })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("an owner that is killed while it changes a dock", () => {
  it.each(KILLED_AFTER)("after %i lines leaves the target of before, or the new one", async (lines) => {
    await using host = await hostWithSubstrate();
    const said: string[] = [];
    {
      await using owner = PoolOwner.begin({ options: host.options(), does: "docks" });
      await owner.hasSaid(lines);
      await owner[Symbol.asyncDispose]();
      said.push(...owner.said);
    }
    const last = (what: string) => said.findLast((line) => line.startsWith(what))?.slice(what.length);
    const [dock] = await docksOf(host, { docks: "restore" });
    expect([last("set "), last("asked ")]).toContain(dock === undefined ? undefined : String(dock.max));
  });
});
