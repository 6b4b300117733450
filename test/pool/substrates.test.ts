import { mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Pool } from "../../lib/pool/index.ts";
import { miniRecipe } from "../../lib/substrate/recipes/mini.ts";
import { FakeHost, type FakePool, openFakePool } from "../support/fake-host.ts";
import { addFakeGuestFiles, addFakeSubstrate, rewrite } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, said } from "../support/vms.ts";

const INVALID = { code: "INVALID_ARGUMENT" };

/** A pool with versions 1 to `count` of "fake". */
async function openWithVersions(count: number): Promise<FakePool> {
  const fake = await openFakePool();
  for (let version = 2; version <= count; version++) {
    await addFakeSubstrate(fake.host.paths, { version, manifest: { inputsKey: `key ${version}` } });
  }
  return fake;
}

async function versionsOf(pool: Pool): Promise<string[]> {
  return (await pool.substrates()).map(({ name, version }) => `${name}@${version}`);
}

const archiveOf = ({ host }: FakePool) => join(host.paths.stateDir, "fake.tar.zst");
const inMemory = ({ host }: FakePool) => readdir(host.paths.sharedMemoryDir);

describe("a version", () => {
  it("is that which was named, the newest without one; hostnames are the name's", async () => {
    await using fake = await openWithVersions(3);
    for (const [substrate, version] of [
      ["fake", 3],
      ["fake@latest", 3],
      ["fake@1", 1],
    ] as const) {
      const vm = await activateOne(fake.pool, { substrate });
      expect(vm.substrate).toEqual({ name: "fake", version });
      expect(vm.hostname).toMatch(/^fake-\d$/);
    }
  });

  it("that is not there is an error which says what is", async () => {
    await using fake = await openWithVersions(2);
    const missing = { code: "SUBSTRATE_NOT_FOUND", details: { name: "fake", version: 7, versions: [2, 1] } };
    await expect(fake.pool.activate(1, { substrate: "fake@7" })).rejects.toMatchObject(missing);
    await expect(fake.pool.coldBoot(1, { substrate: "fake@7" })).rejects.toMatchObject(missing);
    await expect(fake.pool.dock("fake@7", { min: 1 })).rejects.toMatchObject(missing);
    await expect(fake.pool.exportSubstrate("fake@7", archiveOf(fake))).rejects.toMatchObject(missing);
    await expect(fake.pool.removeSubstrate("fake@7")).rejects.toMatchObject(missing);
    await expect(fake.pool.removeSubstrate("none")).rejects.toMatchObject({
      code: "SUBSTRATE_NOT_FOUND",
      details: { known: ["fake"] },
    });
  });

  it.each(["fake@", "fake@0", "fake@x", "../fake", 5])("named %j is refused", async (name) => {
    await using fake = await openFakePool();
    const given = name as string;
    await expect(fake.pool.activate(1, { substrate: given })).rejects.toMatchObject(INVALID);
    await expect(fake.pool.dock(given, { min: 1 })).rejects.toMatchObject(INVALID);
    await expect(fake.pool.docked(given, { count: 1 })).rejects.toMatchObject(INVALID);
    await expect(fake.pool.exportSubstrate(given, "x")).rejects.toMatchObject(INVALID);
    await expect(fake.pool.removeSubstrate(given)).rejects.toMatchObject(INVALID);
  });

  it("has a dock of its own, which stays at it when a new one is built, while that of the newest follows", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake@1", { min: 1 });
    await fake.pool.dock("fake@latest", { min: 1 });
    await fake.pool.docked("fake@1", { count: 1 });
    await addFakeGuestFiles(fake.host.paths, miniRecipe);
    expect(await fake.pool.build({ recipe: "mini", name: "fake" })).toMatchObject({ version: 2 });
    expect(await fake.pool.docked("fake@1", { count: 1 })).toMatchObject({ version: 1, pinned: true });
    expect(await fake.pool.docked("fake", { count: 1 })).toMatchObject({ version: 2, pinned: false });
    expect(await activateOne(fake.pool, { substrate: "fake@1" })).toMatchObject({
      origin: "docked",
      substrate: { version: 1 },
    });
    expect(await activateOne(fake.pool)).toMatchObject({ origin: "docked", substrate: { version: 2 } });
    await expect(fake.pool.docked("fake@2", { count: 1 })).rejects.toMatchObject(INVALID);
  });
});

describe("exportSubstrate and importSubstrate", () => {
  it("take a substrate to another machine, where VMs are made of it", async () => {
    await using from = await openFakePool();
    await using vm = { value: await activateOne(from.pool), [Symbol.asyncDispose]: async () => {} };
    expect(vm.value.state).toBe("running"); // exporting what is in use is nothing special
    const exported = await from.pool.exportSubstrate("fake", archiveOf(from));
    expect(exported).toEqual({
      name: "fake",
      version: 1,
      file: archiveOf(from),
      sizeBytes: (await stat(archiveOf(from))).size,
    });
    await using host = await FakeHost.create();
    await using pool = await host.open();
    const steps: string[] = [];
    const imported = await pool.importSubstrate(archiveOf(from), { onProgress: ({ file }) => steps.push(file) });
    const [original] = await from.pool.substrates();
    expect(imported).toEqual({ ...original, reused: false });
    expect([...new Set(steps)]).toEqual(["state", "helper", "kernel", "initrd", "disk", "ram"]);
    for (const name of await readdir(host.paths.substrate("fake", 1).dir)) {
      const file = join(host.paths.substrate("fake", 1).dir, name);
      expect((await stat(file)).mode & 0o777, name).toBe(0o400);
      expect((await readFile(file)).equals(await readFile(join(from.host.paths.substrate("fake", 1).dir, name)))).toBe(
        true,
      );
    }
    expect(await said(await activateOne(pool), "hostname")).toBe("fake-0");
    await expectNothingLeft(host.paths, { open: true }).catch(() => {}); // the VM is there
    await pool.close();
    await expectNothingLeft(host.paths);
  });

  it("give the version that is there when it has the same content, under whichever number", async () => {
    await using fake = await openWithVersions(3);
    await fake.pool.exportSubstrate("fake@2", archiveOf(fake));
    expect(await fake.pool.importSubstrate(archiveOf(fake))).toMatchObject({ version: 2, reused: true });
    expect(await versionsOf(fake.pool)).toEqual(["fake@3", "fake@2", "fake@1"]);
    const [first, second] = await Promise.all([
      fake.pool.importSubstrate(archiveOf(fake), { name: "other" }),
      fake.pool.importSubstrate(archiveOf(fake), { name: "other" }),
    ]);
    expect([first.reused, second.reused].toSorted()).toEqual([false, true]);
    expect([first.version, second.version]).toEqual([1, 1]);
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it("mend a version that was damaged by a new one of the same content", async () => {
    await using fake = await openFakePool();
    await fake.pool.exportSubstrate("fake", archiveOf(fake));
    await rewrite(fake.host.paths.substrate("fake", 1).state, "damaged");
    await expect(activateOne(fake.pool)).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT" });
    expect(await fake.pool.importSubstrate(archiveOf(fake))).toMatchObject({ version: 2, reused: false });
    expect((await activateOne(fake.pool)).substrate.version).toBe(2);
  });

  it("number other content on, which docks of the newest follow, and pinned ones do not", async () => {
    await using other = await openFakePool();
    await rename(other.host.paths.substrate("fake", 1).dir, `${other.host.paths.stateDir}/away`);
    await addFakeSubstrate(other.host.paths, { manifest: { inputsKey: "another" } });
    await other.pool.exportSubstrate("fake", archiveOf(other));
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.dock("fake@1", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    expect(await fake.pool.importSubstrate(archiveOf(other))).toMatchObject({ version: 2, reused: false });
    expect(await fake.pool.docked("fake", { count: 1 })).toMatchObject({ version: 2 });
    expect(await fake.pool.docked("fake@1", { count: 1 })).toMatchObject({ version: 1 });
    expect((await activateOne(fake.pool)).substrate.version).toBe(2);
  });

  it("refuse what they do not know, and leave nothing when they fail", async () => {
    await using fake = await openFakePool();
    const { pool } = fake;
    await expect(pool.exportSubstrate("fake", "")).rejects.toMatchObject(INVALID);
    await expect(pool.exportSubstrate("fake", "x", { level: 3 } as never)).rejects.toMatchObject(INVALID);
    await expect(pool.importSubstrate("a\0b")).rejects.toMatchObject(INVALID);
    await expect(pool.importSubstrate("x", { name: "../x" })).rejects.toMatchObject(INVALID);
    const missing = { code: "INVALID_ARGUMENT", details: { errno: "ENOENT" } };
    await expect(pool.importSubstrate(archiveOf(fake))).rejects.toMatchObject(missing);
    await expect(pool.exportSubstrate("fake", "/nonexistent/x")).rejects.toMatchObject(missing);
    await writeFile(archiveOf(fake), "no archive");
    await expect(pool.importSubstrate(archiveOf(fake))).rejects.toMatchObject({ code: "SUBSTRATE_ARCHIVE_INVALID" });
    await pool.exportSubstrate("fake", archiveOf(fake));
    const signal = AbortSignal.abort();
    await expect(pool.exportSubstrate("fake", archiveOf(fake), { signal })).rejects.toMatchObject({ code: "ABORTED" });
    await expect(pool.importSubstrate(archiveOf(fake), { signal })).rejects.toMatchObject({ code: "ABORTED" });
    await expectNothingLeft(fake.host.paths, { open: true });
    expect(await versionsOf(pool)).toEqual(["fake@1"]);
  });

  it("end when the pool is closed, and leave nothing", async () => {
    await using fake = await openFakePool();
    const closing: Promise<void>[] = [];
    const onProgress = () => void closing.push(fake.pool.close());
    const exporting = fake.pool.exportSubstrate("fake", archiveOf(fake), { onProgress });
    await expect(exporting).rejects.toMatchObject({ code: "POOL_CLOSED" });
    await Promise.all(closing);
    await expectNothingLeft(fake.host.paths);
    expect(await readdir(fake.host.paths.stateDir)).not.toContain("fake.tar.zst");
  });
});

describe("removeSubstrate", () => {
  it("removes one version or all of a name, from memory as well", async () => {
    await using fake = await openWithVersions(3);
    await (await activateOne(fake.pool)).release();
    expect(await inMemory(fake)).toEqual(["fake-3.ram"]);
    expect(await fake.pool.removeSubstrate("fake@latest")).toEqual([{ name: "fake", version: 3 }]);
    expect(await inMemory(fake)).toEqual([]);
    expect((await activateOne(fake.pool)).substrate.version).toBe(2);
    await expect(fake.pool.removeSubstrate("fake")).rejects.toMatchObject({ code: "SUBSTRATE_IN_USE" });
    expect(await versionsOf(fake.pool)).toEqual(["fake@2", "fake@1"]); // all or none
    await Promise.all(fake.pool.vms.map((vm) => vm.release()));
    expect(await fake.pool.removeSubstrate("fake")).toEqual([
      { name: "fake", version: 1 },
      { name: "fake", version: 2 },
    ]);
    // All that is left is that the numbers were given.
    expect(await readdir(fake.host.paths.substrates, { recursive: true })).toEqual(["fake", "fake/.removed-3"]);
    await expect(activateOne(fake.pool)).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
  });

  it("says who uses it: running and parked VMs, docks and their clones", async () => {
    await using fake = await openFakePool();
    const refused = async () => {
      const error = await fake.pool.removeSubstrate("fake@1").catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: "SUBSTRATE_IN_USE" });
      return (error as { details: { users: unknown[] } }).details.users;
    };
    const vm = await activateOne(fake.pool);
    expect(await refused()).toEqual([{ kind: "vm", id: vm.id }]);
    await vm.park();
    expect(await refused()).toEqual([{ kind: "vm", id: vm.id }]);
    await vm.release();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    expect(await refused()).toEqual([{ kind: "docked", id: expect.any(String) }, { kind: "dock" }]);
    await fake.pool.dock("fake", { min: 0, max: 0 });
    await expect.poll(() => fake.pool.removeSubstrate("fake@1").catch(() => undefined)).toHaveLength(1);
    expect(fake.pool.docks).toEqual([]);
  });

  it("says who uses it: VMs that an earlier owner has left", async () => {
    await using host = await FakeHost.create();
    await addFakeSubstrate(host.paths);
    const first = await host.open();
    const { id } = await activateOne(first);
    await first.close({ vms: "keep" });
    await using next = await host.open();
    await expect(next.removeSubstrate("fake")).rejects.toMatchObject({ details: { users: [{ kind: "vm", id }] } });
    expect(await next.pruneSubstrates({ keep: 1 })).toEqual({ removed: [], inUse: [] });
  });

  it("says who uses it: calls under way, of which those that come later find it gone", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { greeting: "hold" } });
    const stopping = new AbortController();
    const activating = fake.pool.activate(1, { substrate: "fake" }, { signal: stopping.signal });
    await fake.qemu.reached("greeting", 0);
    const kinds = async () => {
      const error = await fake.pool.removeSubstrate("fake@1").catch((thrown: unknown) => thrown);
      return (error as { details: { users: { kind: string }[] } }).details.users.map(({ kind }) => kind);
    };
    expect(await kinds()).toEqual(["vm", "call"]);
    stopping.abort();
    await expect(activating).rejects.toMatchObject({ code: "ABORTED" });
    fake.qemu.script = () => ({});
    const [removed, late] = await Promise.allSettled([fake.pool.removeSubstrate("fake@1"), activateOne(fake.pool)]);
    // Whichever was first: never a VM without its substrate.
    if (removed.status === "fulfilled") expect(late).toMatchObject({ reason: { code: "SUBSTRATE_NOT_FOUND" } });
    else expect(removed.reason).toMatchObject({ code: "SUBSTRATE_IN_USE" });
  });

  it("says who uses it: a build, at once; what is of another name waits for its turn, or for its signal", async () => {
    await using fake = await openFakePool();
    await addFakeSubstrate(fake.host.paths, { name: "other" });
    await addFakeGuestFiles(fake.host.paths, miniRecipe);
    fake.qemu.script = () => ({ at: { greeting: "hold" } });
    const stopping = new AbortController();
    const building = fake.pool.build({ recipe: "mini", name: "fake", signal: stopping.signal });
    building.catch(() => {});
    await fake.qemu.reached("greeting", 0);
    await expect(fake.pool.removeSubstrate("fake@1")).rejects.toMatchObject({
      details: { users: [{ kind: "build" }] },
    });
    const impatient = new AbortController();
    const waiting = fake.pool.removeSubstrate("other", { signal: impatient.signal });
    waiting.catch(() => {});
    const patient = fake.pool.removeSubstrate("other");
    impatient.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    stopping.abort();
    await expect(building).rejects.toMatchObject({ code: "ABORTED" });
    expect(await patient).toHaveLength(1);
  });

  it("removes what is damaged beyond reading; half removed ones are gone after the next opening", async () => {
    await using host = await FakeHost.create();
    await addFakeSubstrate(host.paths);
    await addFakeSubstrate(host.paths, { version: 2 });
    {
      await using pool = await host.open();
      await rewrite(host.paths.substrate("fake", 2).manifest, "{");
      expect(await pool.removeSubstrate("fake@2")).toHaveLength(1);
    }
    // As a crash leaves it: out of sight, and not yet gone.
    await rename(host.paths.substrate("fake", 1).dir, host.paths.substrateRemoval("fake", 1, "x"));
    await using pool = await host.open();
    expect(await pool.substrates()).toEqual([]);
    expect((await readdir(host.paths.substrates)).filter((name) => name.startsWith("."))).toEqual([]);
  });
});

describe("pruneSubstrates", () => {
  it("removes what is older than the newest ones of each name, but for what is used", async () => {
    await using fake = await openWithVersions(5);
    await addFakeSubstrate(fake.host.paths, { name: "other" });
    const vm = await activateOne(fake.pool, { substrate: "fake@2" });
    expect(await fake.pool.pruneSubstrates({ keep: 2 })).toEqual({
      removed: [
        { name: "fake", version: 3 },
        { name: "fake", version: 1 },
      ],
      inUse: [{ name: "fake", version: 2, users: [{ kind: "vm", id: vm.id }] }],
    });
    expect(await versionsOf(fake.pool)).toEqual(["fake@5", "fake@4", "fake@2", "other@1"]);
    expect(await said(vm, "hostname")).toBe(vm.hostname);
    await vm.release();
    expect((await fake.pool.pruneSubstrates({ keep: 1 })).removed).toHaveLength(2);
    expect(await versionsOf(fake.pool)).toEqual(["fake@5", "other@1"]);
  });

  it.each([[undefined], [{}], [{ keep: 0 }], [{ keep: 1.5 }], [{ keep: 1, name: "x" }]])(
    "refuses %j",
    async (options) => {
      await using fake = await openFakePool();
      await expect(fake.pool.pruneSubstrates(options as never)).rejects.toMatchObject(INVALID);
    },
  );
});

describe("scrubSubstrates", () => {
  it("reports every version, and throws for none that is damaged", async () => {
    await using fake = await openWithVersions(3);
    await rewrite(fake.host.paths.substrate("fake", 2).disk, "damaged");
    await rewrite(fake.host.paths.substrate("fake", 1).manifest, "{");
    await mkdir(join(fake.host.paths.substrates, "empty"));
    const seen: string[] = [];
    const report = await fake.pool.scrubSubstrates({
      onProgress: ({ version, state }) => seen.push(`${version} ${state}`),
    });
    expect(seen).toEqual(["3 ok", "2 damaged", "1 damaged"]);
    expect(report).toMatchObject({ damaged: 2, bytes: expect.any(Number) });
    expect(report.substrates[1]?.damage).toEqual([
      { file: fake.host.paths.substrate("fake", 2).disk, reason: expect.stringContaining("bytes, expected") },
    ]);
    const signal = AbortSignal.abort();
    await expect(fake.pool.scrubSubstrates({ signal })).rejects.toMatchObject({ code: "ABORTED" });
    await expect(fake.pool.scrubSubstrates({ maxMiBPerSecond: 0 })).rejects.toMatchObject(INVALID);
  });
});
