import { describe, expect, it } from "vitest";
import type { Transaction, Write } from "../../lib/store/index.ts";
import { collect, keysOf, type OpenTarget, puts, startStore } from "./store-target.ts";

export function describeTransactions(name: string, open: OpenTarget): void {
  describe(`transactions of ${name}`, () => {
    it("write what get then reads", async () => {
      const store = await startStore(open);
      expect(await store.get("a")).toBeUndefined();
      const { committed, revision } = await store.transact({ writes: [{ put: "a", value: "1" }] });
      expect(committed).toBe(true);
      expect(await store.get("a")).toEqual({ key: "a", value: "1", revision, leaseId: undefined });
    });

    it("grow the revision by one each, whatever the number of writes", async () => {
      const store = await startStore(open);
      const first = await store.transact({ writes: [{ put: "a", value: "1" }] });
      const second = await store.transact({ writes: puts("a", "b", "c") });
      expect(second.revision).toBe(first.revision + 1);
      const { entries, revision } = await store.list("");
      expect(entries.map((entry) => entry.revision)).toEqual([revision, revision, revision]);
      expect(revision).toBe(second.revision);
      const third = await store.transact({ writes: [{ put: "b", value: "b" }] });
      expect(third.revision, "the same value again is a change, too").toBe(second.revision + 1);
    });

    it("without a change leave the revision", async () => {
      const store = await startStore(open);
      const { revision } = await store.transact({ writes: puts("a") });
      expect(await store.transact({ writes: [] })).toEqual({ committed: true, revision });
      expect(await store.transact({ writes: [{ delete: "nobody" }] })).toEqual({ committed: true, revision });
      expect(await store.transact({ compare: [{ key: "a", revision }], writes: [] })).toEqual({
        committed: true,
        revision,
      });
    });

    it("write nothing when one comparison does not hold", async () => {
      const store = await startStore(open);
      const { revision: old } = await store.transact({ writes: puts("a") });
      const { revision } = await store.transact({ writes: puts("a") });
      for (const wrong of [
        { key: "a", revision: 0 },
        { key: "a", revision: old },
        { key: "a", revision: revision + 1 },
        { key: "nobody", revision },
      ]) {
        const compare = [{ key: "a", revision }, wrong];
        const writes: Write[] = [{ put: "b", value: "" }, { delete: "a" }];
        expect(await store.transact({ compare, writes })).toEqual({ committed: false, revision });
      }
      expect(await keysOf(store)).toEqual(["a"]);
    });

    it("compare revision 0 with keys that are not there, also after they were deleted", async () => {
      const store = await startStore(open);
      const create: Transaction = { compare: [{ key: "a", revision: 0 }], writes: puts("a") };
      expect(await store.transact(create)).toMatchObject({ committed: true });
      expect(await store.transact(create)).toMatchObject({ committed: false });
      await store.transact({ writes: [{ delete: "a" }] });
      expect(await store.transact(create)).toMatchObject({ committed: true });
    });

    it("compare before they write", async () => {
      const store = await startStore(open);
      const { revision } = await store.transact({ writes: puts("a") });
      const swap: Transaction = {
        compare: [
          { key: "a", revision },
          { key: "b", revision: 0 },
        ],
        writes: [{ delete: "a" }, { put: "b", value: "moved" }],
      };
      expect(await store.transact(swap)).toEqual({ committed: true, revision: revision + 1 });
      expect(await keysOf(store)).toEqual(["b"]);
    });

    it("let exactly one of many creators win", async () => {
      const store = await startStore(open);
      const results = await Promise.all(
        Array.from({ length: 16 }, (_, i) =>
          store.transact({ compare: [{ key: "a", revision: 0 }], writes: [{ put: "a", value: `${i}` }] }),
        ),
      );
      expect(results.filter(({ committed }) => committed)).toHaveLength(1);
      const winner = results.findIndex(({ committed }) => committed);
      expect(await store.get("a")).toMatchObject({ value: `${winner}` });
    });

    it("lose no update of 16 writers that count by compare and swap", async () => {
      const store = await startStore(open);
      const { revision } = await store.transact({ writes: [{ put: "n", value: "0" }] });
      const increment = async () => {
        for (;;) {
          const entry = await store.get("n");
          const value = `${Number(entry?.value) + 1}`;
          const compare = [{ key: "n", revision: entry?.revision ?? 0 }];
          if ((await store.transact({ compare, writes: [{ put: "n", value }] })).committed) return;
        }
      };
      const writer = async () => {
        for (let i = 0; i < 20; i++) await increment();
      };
      await Promise.all(Array.from({ length: 16 }, writer));
      expect(await store.get("n")).toMatchObject({ value: "320", revision: revision + 320 });
    });

    it("keep any text as it is", async () => {
      const store = await startStore(open);
      const values = ["", "a\0b\r\n", "é漢😀\u{10ffff}", `'";--\\`, JSON.stringify({ x: [1] }), "x".repeat(1_000_000)];
      for (const value of values) {
        await store.transact({ writes: [{ put: "text", value }] });
        expect((await store.get("text"))?.value === value).toBe(true);
      }
    });

    it("take keys and numbers of writes up to their limits", async () => {
      const store = await startStore(open);
      const keys = Array.from({ length: 128 }, (_, i) => String(i).padEnd(512, "~"));
      const compare = keys.map((key) => ({ key, revision: 0 }));
      expect(await store.transact({ compare, writes: puts(...keys) })).toMatchObject({ committed: true });
      expect(await keysOf(store)).toEqual(keys.toSorted());
    });

    const longWrites = Array.from({ length: 8193 }, (_, i): Write => ({ put: `${i}`, value: "" }));
    it.each<[string, unknown]>([
      ["an empty key", { writes: puts("") }],
      ["a space in a key", { writes: puts("a b") }],
      ["a key that is not ASCII", { writes: puts("é") }],
      ["a line end in a key", { writes: puts("a\n") }],
      ["a delete character in a key", { writes: puts("a\x7f") }],
      ["a long key", { writes: puts("k".repeat(513)) }],
      ["an empty key to delete", { writes: [{ delete: "" }] }],
      ["two writes of one key", { writes: [{ put: "a", value: "" }, { delete: "a" }] }],
      ["8193 writes", { writes: longWrites }],
      ["8193 comparisons", { compare: longWrites.map((_, i) => ({ key: `${i}`, revision: 0 })), writes: [] }],
      ["more than 8 MiB", { writes: [{ put: "a", value: "x".repeat(8 * 1024 * 1024) }] }],
      ["more than 8 MiB in UTF-8", { writes: [{ put: "a", value: "é".repeat(4_800_000) }] }],
      ["half a surrogate pair", { writes: [{ put: "a", value: "\ud800" }] }],
      ["a value that is no text", { writes: [{ put: "a", value: 1 }] }],
      ["no value", { writes: [{ put: "a" }] }],
      ["an unknown field", { writes: [], if: [] }],
      ["a write of no kind", { writes: [{}] }],
      ["a write of two kinds", { writes: [{ put: "a", value: "", delete: "a" }] }],
      ["a negative revision", { compare: [{ key: "a", revision: -1 }], writes: [] }],
      ["half a revision", { compare: [{ key: "a", revision: 0.5 }], writes: [] }],
      ["no writes", {}],
      ["nothing", undefined],
    ])("with %s are refused, and touch nothing", async (_, transaction) => {
      const store = await startStore(open);
      const { revision } = await store.list("");
      await expect(store.transact(transaction as Transaction)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      expect(await store.list("")).toEqual({ entries: [], revision });
    });
  });

  describe(`listings of ${name}`, () => {
    const KEYS = [
      "!",
      "%",
      "A",
      "_",
      "a",
      "a!",
      "a%",
      "a%b",
      "a/",
      "a/b",
      "a/b/c",
      "aZ",
      "a_",
      "ab",
      "a~",
      "b",
      "~",
      "~~",
    ];

    it("are by key, byte by byte", async () => {
      const store = await startStore(open);
      for (const key of KEYS.toReversed()) await store.transact({ writes: puts(key) });
      expect(await keysOf(store)).toEqual(KEYS);
    });

    it.each(["", "a", "A", "ab", "a/", "a/b", "a%", "_", "%", "~", "~~", "~~~", "a~", "!", "a*", "a[", "c"])(
      "take the prefix %j as it is",
      async (prefix) => {
        const store = await startStore(open);
        await store.transact({ writes: puts(...KEYS) });
        expect(await keysOf(store, prefix)).toEqual(KEYS.filter((key) => key.startsWith(prefix)));
      },
    );

    it("of an empty store are empty, at a revision that a watch can begin after", async () => {
      const store = await startStore(open);
      const { entries, revision } = await store.list("");
      expect(entries).toEqual([]);
      const changes = collect(store.watch("", { afterRevision: revision }), 1);
      await store.transact({ writes: puts("a") });
      expect((await changes).map(({ key }) => key)).toEqual(["a"]);
    });

    it("refuse a prefix or key that no key can have", async () => {
      const store = await startStore(open);
      for (const wrong of ["a b", "é", "\n", "k".repeat(513), 1 as unknown as string]) {
        await expect(store.list(wrong)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
        await expect(store.get(wrong)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      }
      await expect(store.get("")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    });
  });
}
