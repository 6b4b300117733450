import { statSync } from "node:fs";
import { copyFile, mkdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { EmbeddedStore, type EmbeddedStoreOptions } from "../../lib/store/index.ts";
import { EmbeddedTarget } from "../support/embedded-target.ts";
import { collect, keysOf, puts, within } from "../support/store-target.ts";

const PAGE_BYTES = 4096;
const TTL_MS = 5_000;

async function start(options: EmbeddedStoreOptions = {}): Promise<EmbeddedTarget> {
  const target = await EmbeddedTarget.open(options);
  onTestFinished(() => target[Symbol.asyncDispose]());
  return target;
}

/** A target whose store is closed, so that its file can be tampered with. */
async function startClosed(...keys: string[]): Promise<EmbeddedTarget> {
  const target = await start();
  if (keys.length > 0) await target.store.transact({ writes: puts(...keys) });
  await target.store[Symbol.asyncDispose]();
  return target;
}

function execute(file: string, sql: string): void {
  const database = new DatabaseSync(file);
  database.exec(sql);
  database.close();
}

function logBytes({ file }: EmbeddedTarget): number {
  return statSync(`${file}-wal`).size;
}

function failsWith(code: string, ...inMessage: string[]): unknown {
  const message = inMessage.map((part) => `(?=.*${part})`).join("");
  return expect.objectContaining({ code, message: expect.stringMatching(new RegExp(`^${message}`)) });
}

describe("opening an embedded store", () => {
  it("makes files that are only this user's", async () => {
    const target = await start();
    await target.store.transact({ writes: puts("a") });
    for (const name of [target.file, `${target.file}-wal`]) expect((await stat(name)).mode & 0o777).toBe(0o600);
  });

  it("is refused while the store is open, here or in another process", async () => {
    const { file, store } = await start();
    for (let i = 0; i < 3; i++) {
      await expect(EmbeddedStore.open(file)).rejects.toEqual(failsWith("STATE_DIR_LOCKED", file));
    }
    expect(await store.transact({ writes: puts("a") })).toMatchObject({ committed: true });
  });

  it("leaves the store of a newer version as it is", async () => {
    const target = await startClosed("a");
    execute(target.file, "PRAGMA user_version = 7");
    const before = await readFile(target.file);
    await expect(target.reopen()).rejects.toEqual(failsWith("STORE_TOO_NEW", "version 7", "up to 1"));
    expect(await readFile(target.file)).toEqual(before);
  });

  it.each<[string, (file: string) => Promise<unknown>]>([
    ["text", (file) => writeFile(file, "no database\n".repeat(1000))],
    ["a database cut short", (file) => truncate(file, 2 * PAGE_BYTES + 100)],
    ["a database with pages of zeros", (file) => zero(file, PAGE_BYTES, 3 * PAGE_BYTES)],
    ["a database with damaged pages", (file) => zero(file, PAGE_BYTES + 8, PAGE_BYTES + 1000)],
    ["another program's database", async (file) => execute(file, "PRAGMA application_id = 1")],
    ["a database without its counters", async (file) => execute(file, "DELETE FROM counters")],
    ["a database without its tables", async (file) => execute(file, "DROP TABLE entries")],
  ])("says that it is damaged, and what to do, when it finds %s", async (_, damage) => {
    const target = await startClosed(...Array.from({ length: 100 }, (__, i) => `key/${i}`));
    await damage(target.file);
    const before = await readFile(target.file);
    await expect(target.reopen()).rejects.toEqual(failsWith("STATE_DIR_DAMAGED", target.file, "(move|put)"));
    expect(await readFile(target.file)).toEqual(before);
  });

  it("does not take a database that has tables for a new one", async () => {
    const { dir } = await start();
    const file = join(dir, "other.db");
    execute(file, "CREATE TABLE t (x)");
    await expect(EmbeddedStore.open(file)).rejects.toEqual(failsWith("STATE_DIR_DAMAGED", "another program"));
  });

  it("takes an empty file for a new store: what a crash may leave", async () => {
    const { dir } = await start();
    const file = join(dir, "new.db");
    await writeFile(file, "", { mode: 0o644 });
    await using store = await EmbeddedStore.open(file);
    expect(await store.list("")).toEqual({ entries: [], revision: 0 });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it("needs the directory", async () => {
    const { dir } = await start();
    await expect(EmbeddedStore.open(join(dir, "none", "s.db"))).rejects.toEqual(
      failsWith("STATE_DIR_DAMAGED", "ENOENT"),
    );
    await mkdir(join(dir, "taken"));
    await expect(EmbeddedStore.open(join(dir, "taken"))).rejects.toEqual(failsWith("STATE_DIR_DAMAGED", "taken"));
  });

  it.each([
    { historyLength: 0 },
    { historyLength: 100_001 },
    { historyLength: 1.5 },
    { checkpointBytes: 0 },
    { now: 5 },
    { history: 1 },
  ])("with options %j is refused", async (options) => {
    const opening = EmbeddedStore.open("/nowhere/store.db", options as EmbeddedStoreOptions);
    await expect(opening).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("finds what a process left that never closed the store", async () => {
    const target = await start();
    await target.store.transact({ writes: puts("a") });
    const copy = join(target.dir, "copy.db");
    await copyFile(target.file, copy);
    await copyFile(`${target.file}-wal`, `${copy}-wal`);
    await using store = await EmbeddedStore.open(copy);
    expect(await store.list("")).toEqual(await target.store.list(""));
  });
});

describe("the embedded store's commits", () => {
  it("are shared by all that is requested in one turn", async () => {
    const target = await start();
    const { store } = target;
    const put = (i: number) => store.transact({ writes: [{ put: `k${i}`, value: "" }] });
    const before = logBytes(target);
    const results = await Promise.all(Array.from({ length: 100 }, (_, i) => put(i)));
    expect(results.map(({ revision }) => revision)).toEqual(results.map((_, i) => i + 1));
    const shared = logBytes(target) - before;
    for (let i = 0; i < 100; i++) await put(i);
    const single = logBytes(target) - before - shared;
    expect(shared).toBeLessThan(10 * PAGE_BYTES);
    expect(single).toBeGreaterThan(200 * PAGE_BYTES);
  });

  it("evaluate in the order of the requests, each on what the ones before it left", async () => {
    const { store } = await start();
    const move = (from: number, to: number) =>
      store.transact({ compare: [{ key: "a", revision: from }], writes: [{ put: "a", value: `${to}` }] });
    const results = await Promise.all([move(0, 1), move(0, 2), move(1, 3), move(2, 4), move(2, 5)]);
    expect(results.map(({ committed }) => committed)).toEqual([true, false, true, true, false]);
    expect(await store.get("a")).toMatchObject({ value: "4", revision: 3 });
  });

  it("take more than fits into one", async () => {
    const { store } = await start();
    const all = Array.from({ length: 3_000 }, (_, i) => store.transact({ writes: puts(`k${i}`) }));
    expect((await Promise.all(all)).at(-1)).toEqual({ committed: true, revision: 3_000 });
  });

  it("refuse what would make the queue too long, and go on", async () => {
    const { store } = await start();
    const all = Array.from({ length: 16_400 }, () => store.transact({ writes: [] }));
    const results = await Promise.allSettled(all);
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(16_384);
    expect(results.at(-1)).toMatchObject({ reason: { code: "INVALID_ARGUMENT" } });
    expect(await store.transact({ writes: puts("a") })).toMatchObject({ committed: true });
  });

  it("are made before the store closes", async () => {
    const target = await start();
    const requested = [target.store.transact({ writes: puts("a") }), target.store.transact({ writes: puts("b") })];
    const again = await target.reopen();
    expect(await Promise.all(requested)).toMatchObject([{ committed: true }, { committed: true }]);
    expect(await keysOf(again)).toEqual(["a", "b"]);
  });

  it("leave the log for the database before it grows without end", async () => {
    const target = await start({ checkpointBytes: 100_000 });
    for (let i = 0; i < 100; i++) {
      await target.store.transact({ writes: [{ put: `k${i % 7}`, value: "x".repeat(2_000) }] });
    }
    expect(logBytes(target)).toBeLessThan(300_000);
  });

  it("do not see changes to their arguments after the request", async () => {
    const { store } = await start();
    const writes = [{ put: "a", value: "asked" }];
    const done = store.transact({ writes });
    writes.splice(0, 1, { put: "b", value: "later" });
    await done;
    expect(await keysOf(store)).toEqual(["a"]);
  });
});

describe("the embedded store's leases", () => {
  afterEach(() => vi.useRealTimers());

  it("end by themselves, at their time", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const { store } = await start({ now: () => performance.now() });
    const [short, long] = [await store.grantLease(TTL_MS), await store.grantLease(3 * TTL_MS)];
    await store.transact({ writes: [...puts("short").map(within(short.id)), ...puts("long").map(within(long.id))] });
    const seen: string[] = [];
    const follow = async () => {
      for await (const { key } of store.watch("")) seen.push(key);
    };
    const following = follow().catch(() => {});
    await vi.advanceTimersByTimeAsync(TTL_MS - 10);
    await store.renewLease(long.id);
    expect(seen).toEqual([]);
    await vi.advanceTimersByTimeAsync(10);
    expect(seen).toEqual(["short"]);
    await vi.advanceTimersByTimeAsync(3 * TTL_MS - 20);
    expect(seen).toEqual(["short"]);
    await vi.advanceTimersByTimeAsync(10);
    expect(seen).toEqual(["short", "long"]);
    await store[Symbol.asyncDispose]();
    await following;
    expect(vi.getTimerCount()).toBe(0);
  });

  it("are not seen alive after their time, by any operation", async () => {
    const looks: ((store: EmbeddedStore, id: string) => Promise<unknown>)[] = [
      async (store) => expect(await store.get("a")).toBeUndefined(),
      async (store) => expect(await store.list("")).toEqual({ entries: [], revision: 2 }),
      async (store) =>
        expect(await store.transact({ compare: [{ key: "a", revision: 0 }], writes: [] })).toMatchObject({
          committed: true,
          revision: 2,
        }),
      async (store, id) => expect(store.renewLease(id)).rejects.toMatchObject({ code: "STORE_LEASE_EXPIRED" }),
      async (store, id) => {
        const late = store.transact({ writes: puts("b").map(within(id)) });
        await expect(late).rejects.toMatchObject({ code: "STORE_LEASE_EXPIRED" });
      },
    ];
    for (const look of looks) {
      let now = 0;
      const { store } = await start({ now: () => now });
      const { id } = await store.grantLease(TTL_MS);
      await store.transact({ writes: puts("a").map(within(id)) });
      now = TTL_MS - 1;
      expect(await store.get("a")).toBeDefined();
      now = TTL_MS;
      await look(store, id);
    }
  });

  it("have their full time again when the store is opened again", async () => {
    const target = await start();
    const { id } = await target.store.grantLease(TTL_MS);
    await target.store.transact({ writes: puts("a").map(within(id)) });
    await target.advance(TTL_MS - 1);
    const again = await target.reopen();
    await target.advance(TTL_MS - 1);
    expect(await keysOf(again)).toEqual(["a"]);
    await target.advance(1);
    expect(await keysOf(again)).toEqual([]);
  });

  it("are renewed without a write", async () => {
    const target = await start();
    const { id } = await target.store.grantLease(TTL_MS);
    const before = logBytes(target);
    for (let i = 0; i < 10; i++) await target.store.renewLease(id);
    expect(logBytes(target)).toBe(before);
  });

  it("that end together do so one after the other, the earliest first", async () => {
    const target = await start();
    const { store } = target;
    const [late, early] = [await store.grantLease(TTL_MS + 1), await store.grantLease(TTL_MS)];
    await store.transact({ writes: [...puts("late").map(within(late.id)), ...puts("early").map(within(early.id))] });
    const changes = collect(store.watch(""), 2);
    await target.advance(2 * TTL_MS);
    expect(await changes).toMatchObject([
      { key: "early", revision: 2 },
      { key: "late", revision: 3 },
    ]);
  });
});

describe("the embedded store's watches", () => {
  const put = (store: EmbeddedStore, i: number) => store.transact({ writes: [{ put: "a", value: `${i}` }] });

  it("go back as far as the history, and no further", async () => {
    const { store } = await start({ historyLength: 10 });
    for (let i = 1; i <= 30; i++) await put(store, i);
    const changes = await collect(store.watch("", { afterRevision: 20 }), 10);
    expect(changes.map(({ revision }) => revision)).toEqual([21, 22, 23, 24, 25, 26, 27, 28, 29, 30]);
    const tooOld = collect(store.watch("b", { afterRevision: 10 }), 1);
    await expect(tooOld).rejects.toMatchObject({ code: "STORE_COMPACTED" });
  });

  it("do not go back before the opening", async () => {
    const target = await start();
    await put(target.store, 1);
    await put(target.store, 2);
    const again = await target.reopen();
    const tooOld = collect(again.watch("", { afterRevision: 1 }), 1);
    await expect(tooOld).rejects.toMatchObject({ code: "STORE_COMPACTED" });
    const fresh = collect(again.watch("", { afterRevision: 2 }), 1);
    await put(again, 3);
    expect(await fresh).toMatchObject([{ revision: 3 }]);
  });

  it("that are slow are told so, and hold up nobody", async () => {
    const { store } = await start({ historyLength: 10 });
    const slow = store.watch("")[Symbol.asyncIterator]();
    const first = slow.next();
    for (let i = 1; i <= 30; i++) await put(store, i);
    expect(await first).toMatchObject({ value: { revision: 1 } });
    await expect(slow.next()).rejects.toMatchObject({ code: "STORE_COMPACTED" });
    expect(await slow.next()).toEqual({ done: true, value: undefined });
  });

  it("keep up with one commit that is larger than the history", async () => {
    const { store } = await start({ historyLength: 10 });
    const changes = collect(store.watch(""), 600);
    await Promise.all(Array.from({ length: 6 }, (_, i) => store.transact({ writes: puts(...hundred(`${i}/`)) })));
    expect(new Set((await changes).map(({ key }) => key)).size).toBe(600);
  });

  it("forget by size, too", async () => {
    const { store } = await start();
    const value = "x".repeat(1_000_000);
    for (let i = 0; i < 20; i++) await store.transact({ writes: [{ put: "a", value }] });
    const tooOld = collect(store.watch("", { afterRevision: 0 }), 1);
    await expect(tooOld).rejects.toMatchObject({ code: "STORE_COMPACTED" });
    expect(await collect(store.watch("", { afterRevision: 10 }), 1)).toMatchObject([{ revision: 11 }]);
  });

  it("after a revision that is yet to come wait for it", async () => {
    const { store } = await start();
    const changes = collect(store.watch("", { afterRevision: 2 }), 1);
    for (let i = 1; i <= 3; i++) await put(store, i);
    expect(await changes).toMatchObject([{ revision: 3 }]);
  });

  it("begin when they are made, not when they are first asked", async () => {
    const { store } = await start();
    const watch = store.watch("");
    await put(store, 1);
    expect(await collect(watch, 1)).toMatchObject([{ revision: 1 }]);
  });

  it("answer several waiting callers in their order, and all of them when they are ended", async () => {
    const { store } = await start();
    const watch = store.watch("")[Symbol.asyncIterator]();
    const waiting = [watch.next(), watch.next(), watch.next()];
    await Promise.all([put(store, 1), put(store, 2)]);
    expect(await Promise.all(waiting.slice(0, 2))).toMatchObject([
      { value: { revision: 1 } },
      { value: { revision: 2 } },
    ]);
    await watch.return?.();
    expect(await waiting[2]).toEqual({ done: true, value: undefined });
  });

  it("leave no listener behind on their signal", async () => {
    const { store } = await start();
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, "addEventListener");
    const removed = vi.spyOn(signal, "removeEventListener");
    const changes = collect(store.watch("", { signal }), 3);
    for (let i = 1; i <= 3; i++) await put(store, i);
    await changes;
    expect(added).toHaveBeenCalled();
    expect(removed).toHaveBeenCalledTimes(added.mock.calls.length);
  });
});

function hundred(prefix: string): string[] {
  return Array.from({ length: 100 }, (_, i) => `${prefix}${i}`);
}

async function zero(file: string, from: number, to: number): Promise<void> {
  const content = await readFile(file);
  await writeFile(file, content.fill(0, from, to));
}
