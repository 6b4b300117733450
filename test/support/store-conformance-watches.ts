import { describe, expect, it } from "vitest";
import type { Entry, WatchOptions } from "../../lib/store/index.ts";
import { collect, type OpenTarget, puts, start, startStore } from "./store-target.ts";

const TTL_MS = 5_000;

export function describeWatches(name: string, open: OpenTarget): void {
  describe(`watches of ${name}`, () => {
    it("tell every change after a revision, in order, with the entry or without", async () => {
      const store = await startStore(open);
      const { revision } = await store.transact({ writes: puts("before") });
      await store.transact({ writes: [{ put: "a", value: "1" }, { put: "b", value: "2" }, { delete: "before" }] });
      await store.transact({ writes: [{ delete: "a" }, { delete: "nobody" }] });
      const entry = (key: string, value: string): Entry => ({ key, value, revision: revision + 1, leaseId: undefined });
      expect(await collect(store.watch("", { afterRevision: revision }), 4)).toEqual([
        { revision: revision + 1, key: "a", entry: entry("a", "1") },
        { revision: revision + 1, key: "b", entry: entry("b", "2") },
        { revision: revision + 1, key: "before", entry: undefined },
        { revision: revision + 2, key: "a", entry: undefined },
      ]);
    });

    it("tell of their prefix only", async () => {
      const store = await startStore(open);
      const { revision } = await store.list("");
      await store.transact({ writes: puts("a", "a%", "a%b", "ab", "a_", "b") });
      const watch = (prefix: string, count: number) => collect(store.watch(prefix, { afterRevision: revision }), count);
      expect((await watch("a%", 2)).map(({ key }) => key)).toEqual(["a%", "a%b"]);
      expect((await watch("a", 5)).map(({ key }) => key)).toEqual(["a", "a%", "a%b", "ab", "a_"]);
      const later = watch("c", 1);
      await store.transact({ writes: puts("b", "c") });
      expect((await later).map(({ key }) => key)).toEqual(["c"]);
    });

    it("miss nothing and double nothing after a listing, while others write", async () => {
      const store = await startStore(open);
      const writer = async (name_: string) => {
        for (let i = 0; i < 60; i++) await store.transact({ writes: puts(`${name_}/${i}`, `${name_}/last`) });
      };
      const follower = async () => {
        const { entries, revision } = await store.list("");
        const seen = new Map(entries.map((entry) => [entry.key, entry]));
        let last = revision;
        for await (const { key, entry, revision: at } of store.watch("", { afterRevision: revision })) {
          expect(at).toBeGreaterThanOrEqual(last);
          last = at;
          expect(seen.get(key)?.revision ?? 0).toBeLessThan(at);
          if (entry) seen.set(key, entry);
          if (key === "end") break;
        }
        seen.delete("end");
        return [...seen.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
      };
      const writers = Promise.all(["a", "b", "c", "d"].map(writer));
      const followers: Promise<Entry[]>[] = [];
      for (let i = 0; i < 10; i++) {
        followers.push(follower());
        await store.transact({ writes: puts(`tick/${i}`) });
      }
      await writers;
      const { entries } = await store.list("");
      await store.transact({ writes: puts("end") });
      for (const seen of await Promise.all(followers)) expect(seen).toEqual(entries);
      expect(entries).toHaveLength(4 * 61 + 10);
    });

    it("that wait end with ABORTED when their signal fires", async () => {
      const store = await startStore(open);
      const controller = new AbortController();
      const { revision } = await store.list("");
      const ended = collect(store.watch("", { afterRevision: revision, signal: controller.signal }), 2);
      await store.transact({ writes: puts("a") });
      controller.abort();
      await expect(ended).rejects.toMatchObject({ code: "ABORTED" });
      const { signal } = controller;
      await expect(collect(store.watch("", { signal }), 1)).rejects.toMatchObject({ code: "ABORTED" });
    });

    it("that wait end with STORE_CLOSED when the store is closed", async () => {
      const store = await startStore(open);
      const ended = collect(store.watch(""), 1);
      const noted = expect(ended).rejects.toMatchObject({ code: "STORE_CLOSED" });
      await store[Symbol.asyncDispose]();
      await noted;
      await expect(collect(store.watch(""), 1)).rejects.toMatchObject({ code: "STORE_CLOSED" });
    });

    it("are done after a break, and after an error", async () => {
      const store = await startStore(open);
      const { revision } = await store.list("");
      await store.transact({ writes: puts("a", "b", "c") });
      const watch = store.watch("", { afterRevision: revision })[Symbol.asyncIterator]();
      expect(await watch.next()).toMatchObject({ done: false, value: { key: "a" } });
      await watch.return?.();
      expect(await watch.next()).toEqual({ done: true, value: undefined });
      const aborted = store.watch("", { signal: AbortSignal.abort() })[Symbol.asyncIterator]();
      await expect(aborted.next()).rejects.toMatchObject({ code: "ABORTED" });
      expect(await aborted.next()).toEqual({ done: true, value: undefined });
    });

    it("refuse a prefix, revision or field that cannot be meant", async () => {
      const store = await startStore(open);
      for (const [prefix, given] of [
        ["a b", {}],
        ["a", { afterRevision: -1 }],
        ["a", { afterRevision: 0.5 }],
        ["a", { after: 1 } as WatchOptions],
      ] as const) {
        const watch = async () => collect(store.watch(prefix, given), 1);
        await expect(watch()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      }
    });
  });

  describe(`closing ${name}`, () => {
    it("refuses everything afterwards, and may be done twice", async () => {
      const store = await startStore(open);
      const { id } = await store.grantLease(TTL_MS);
      await store[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      for (const late of [
        store.get("a"),
        store.list(""),
        store.transact({ writes: puts("a") }),
        store.grantLease(TTL_MS),
        store.renewLease(id),
        store.revokeLease(id),
      ]) {
        await expect(late).rejects.toMatchObject({ code: "STORE_CLOSED" });
      }
    });

    it("loses nothing, and reopening goes on where it was", async () => {
      const { store, reopen } = await start(open);
      await store.transact({ writes: puts("a", "b") });
      await store.transact({ writes: [{ delete: "a" }] });
      const before = await store.list("");
      const again = await reopen();
      expect(await again.list("")).toEqual(before);
      const changes = collect(again.watch("", { afterRevision: before.revision }), 1);
      expect(await again.transact({ writes: puts("c") })).toEqual({ committed: true, revision: before.revision + 1 });
      expect(await changes).toMatchObject([{ key: "c", revision: before.revision + 1 }]);
    });
  });
}
