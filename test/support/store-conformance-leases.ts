import { describe, expect, it } from "vitest";
import { collect, keysOf, type OpenTarget, puts, start, startStore, within } from "./store-target.ts";

/** One that every store grants: etcd rounds up to seconds, and has a least time that depends on its heartbeat. */
const TTL_MS = 5_000;
/** Longer than any store takes to notice that a lease has ended. */
const PAST_TTL_MS = TTL_MS + 3_000;

export function describeLeases(name: string, open: OpenTarget): void {
  describe(`leases of ${name}`, () => {
    it("have ids of their own, and epochs that only grow", async () => {
      const { store, reopen } = await start(open);
      const granted = [await store.grantLease(TTL_MS), await store.grantLease(TTL_MS)];
      for (const { id } of granted) await store.revokeLease(id);
      granted.push(await store.grantLease(TTL_MS));
      granted.push(...(await Promise.all([1, 2, 3].map(() => store.grantLease(TTL_MS)))).toSorted(byEpoch));
      for (const { id } of granted) await store.revokeLease(id);
      granted.push(await (await reopen()).grantLease(TTL_MS));
      const epochs = granted.map(({ epoch }) => epoch);
      expect(epochs).toEqual([...new Set(epochs)].toSorted((a, b) => a - b));
      expect(new Set(granted.map(({ id }) => id)).size).toBe(granted.length);
      for (const { ttlMs } of granted) expect(ttlMs).toBeGreaterThanOrEqual(TTL_MS);
    });

    it("take their keys with them when their time is over, in one revision", async () => {
      const { store, advance } = await start(open);
      const { id } = await store.grantLease(TTL_MS);
      const { revision } = await store.transact({ writes: [...puts("b", "c", "a").map(within(id)), ...puts("d")] });
      expect(await store.get("a")).toMatchObject({ leaseId: id });
      const changes = collect(store.watch("", { afterRevision: revision }), 3);
      await advance(PAST_TTL_MS);
      expect(await store.list("")).toEqual({
        entries: [expect.objectContaining({ key: "d" })],
        revision: revision + 1,
      });
      expect(await changes).toEqual(["a", "b", "c"].map((key) => ({ revision: revision + 1, key, entry: undefined })));
    });

    it("take their keys with them when they are revoked, in one revision", async () => {
      const store = await startStore(open);
      const { id } = await store.grantLease(TTL_MS);
      const { revision } = await store.transact({ writes: [...puts("b", "a").map(within(id)), ...puts("c")] });
      await store.revokeLease(id);
      expect(await store.list("")).toEqual({
        entries: [expect.objectContaining({ key: "c" })],
        revision: revision + 1,
      });
      await store.revokeLease(id);
      expect(await store.list("")).toMatchObject({ revision: revision + 1 });
    });

    it("live on while they are renewed", async () => {
      const { store, advance } = await start(open);
      const lease = await store.grantLease(TTL_MS);
      await store.transact({ writes: puts("a").map(within(lease.id)) });
      for (let passed = 0; passed < PAST_TTL_MS; passed += TTL_MS / 2) {
        await advance(TTL_MS / 2);
        expect(await store.renewLease(lease.id)).toEqual(lease);
      }
      expect(await keysOf(store)).toEqual(["a"]);
      await advance(PAST_TTL_MS);
      expect(await keysOf(store)).toEqual([]);
    });

    it("that have expired or were revoked are refused, with all that was to be written", async () => {
      const { store, advance } = await start(open);
      const [expired, revoked] = [await store.grantLease(TTL_MS), await store.grantLease(TTL_MS)];
      await store.revokeLease(revoked.id);
      await advance(PAST_TTL_MS);
      for (const { id } of [expired, revoked]) {
        const writes = [...puts("a"), ...puts("b").map(within(id))];
        await expect(store.transact({ writes })).rejects.toMatchObject({ code: "STORE_LEASE_EXPIRED" });
        await expect(store.renewLease(id)).rejects.toMatchObject({ code: "STORE_LEASE_EXPIRED" });
        const compare = [{ key: "a", revision: 7 }];
        expect(await store.transact({ compare, writes })).toMatchObject({ committed: false });
      }
      expect(await keysOf(store)).toEqual([]);
    });

    it("that are gone harm only the transactions that name them", async () => {
      const store = await startStore(open);
      const { id } = await store.grantLease(TTL_MS);
      await store.revokeLease(id);
      const results = await Promise.allSettled([
        store.transact({ writes: puts("a") }),
        store.transact({ writes: puts("b").map(within(id)) }),
        store.transact({ writes: puts("c") }),
      ]);
      expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
      expect(await keysOf(store)).toEqual(["a", "c"]);
    });

    it("lose a key that is put again without one, or with another one", async () => {
      const store = await startStore(open);
      const [one, other] = [await store.grantLease(TTL_MS), await store.grantLease(TTL_MS)];
      await store.transact({ writes: puts("none", "other", "same", "new").map(within(one.id)) });
      await store.transact({ writes: [...puts("none"), ...puts("other").map(within(other.id)), { delete: "new" }] });
      await store.transact({ writes: [...puts("new"), ...puts("same").map(within(one.id))] });
      await store.revokeLease(one.id);
      expect(await keysOf(store)).toEqual(["new", "none", "other"]);
      await store.revokeLease(other.id);
      expect(await keysOf(store)).toEqual(["new", "none"]);
    });

    it("outlast the reopening of the store, with their keys", async () => {
      const { store, reopen, advance } = await start(open);
      const lease = await store.grantLease(TTL_MS);
      await store.transact({ writes: puts("a").map(within(lease.id)) });
      const again = await reopen();
      expect(await again.get("a")).toMatchObject({ leaseId: lease.id });
      expect(await again.renewLease(lease.id)).toEqual(lease);
      await advance(PAST_TTL_MS);
      expect(await keysOf(again)).toEqual([]);
    });

    it.each([0, -1, 999, 86_400_001, 1500.5, Number.NaN, Number.POSITIVE_INFINITY])(
      "of %d ms are refused",
      async (ttlMs) => {
        const store = await startStore(open);
        await expect(store.grantLease(ttlMs)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      },
    );
  });
}

function byEpoch(a: { epoch: number }, b: { epoch: number }): number {
  return a.epoch - b.epoch;
}
