import { describe, expect, it } from "vitest";
import { VmSubstrateError } from "../../lib/core/index.ts";
import { type Change, commit } from "../../lib/netcfg/index.ts";
import { MemoryStore } from "../support/memory-store.ts";

function change(key: string, revision = 0): Change & { readonly calls: unknown[] } {
  const calls: unknown[] = [];
  return {
    calls,
    compare: [{ key, revision }],
    writes: [{ put: key, value: "x" }],
    confirm: (at) => calls.push(at),
    cancel: () => calls.push("cancel"),
  };
}

describe("commit", () => {
  it("writes all changes and the caller's own in one transaction, and confirms with its revision", async () => {
    const store = new MemoryStore();
    const changes = [change("a"), change("b")];
    expect(
      await commit(store, changes, { compare: [{ key: "c", revision: 0 }], writes: [{ put: "c", value: "" }] }),
    ).toBe(true);
    expect([...store.contents.values()].map(({ key, revision }) => [key, revision])).toEqual([
      ["a", 1],
      ["b", 1],
      ["c", 1],
    ]);
    expect(changes.map(({ calls }) => calls)).toEqual([[1], [1]]);
  });

  it("cancels all when one comparison does not hold", async () => {
    const store = new MemoryStore();
    const changes = [change("a"), change("b", 7)];
    expect(await commit(store, changes)).toBe(false);
    expect(store.contents.size).toBe(0);
    expect(changes.map(({ calls }) => calls)).toEqual([["cancel"], ["cancel"]]);
  });

  it("cancels after an error only when nothing was written for certain", async () => {
    const store = new MemoryStore();
    for (const [code, calls] of [
      ["STORE_LEASE_EXPIRED", ["cancel"]],
      ["INVALID_ARGUMENT", ["cancel"]],
      ["STORE_UNWRITABLE", []],
      ["TIMEOUT", []],
    ] as const) {
      const one = change("a");
      store.transact = () => Promise.reject(new VmSubstrateError(code, "no"));
      await expect(commit(store, [one])).rejects.toMatchObject({ code });
      expect(one.calls).toEqual(calls);
    }
  });
});
