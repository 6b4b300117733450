import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Change, Store, StoreLease, Transaction, Write } from "../../lib/store/index.ts";
import { Model } from "./store-model.ts";
import type { StoreTarget } from "./store-target.ts";

export interface ModelOptions {
  /** How many random histories, of up to 60 steps each. */
  readonly runs?: number | undefined;
  /**
   * The store evaluates what is requested in one turn in that order, and its time is the test's, so that `advance` costs
   * nothing and leases end exactly then.
   */
  readonly isDeterministic?: boolean | undefined;
}

const KEYS = ["a", "a/", "a/%", "a/b", "ab", "a~", "b", "b_", "~"];
const PREFIXES = ["", "a", "a/", "b", "~", "c"];
const END = "zz-end";

const key = fc.constantFrom(...KEYS);
const which = fc.nat(7);
const planned = fc.record({
  compare: fc.uniqueArray(fc.record({ key, against: fc.constantFrom("now", "now", "absent", "before") }), {
    selector: (one) => one.key,
    maxLength: 2,
  }),
  writes: fc.uniqueArray(
    fc.record({ key, value: fc.option(fc.string({ maxLength: 8 })), lease: fc.option(which, { freq: 2 }) }),
    { selector: (one) => one.key, maxLength: 4 },
  ),
});
type Planned = typeof planned extends fc.Arbitrary<infer T> ? T : never;

const anywhere = [
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("transact"), one: planned }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("get"), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("list"), prefix: fc.constantFrom(...PREFIXES) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("grant"), ttlMs: fc.integer({ min: 3_000, max: 9_000 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("renew"), lease: which }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("revoke"), lease: which }) },
] as const;
const deterministic = [
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("burst"), all: fc.array(planned, { maxLength: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("advance"), ms: fc.integer({ min: 1, max: 6_000 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen") }) },
] as const;
type Step = typeof anywhere extends readonly { arbitrary: infer A }[]
  ? A extends fc.Arbitrary<infer T>
    ? T
    : never
  : never;
type TimedStep = typeof deterministic extends readonly { arbitrary: infer A }[]
  ? A extends fc.Arbitrary<infer T>
    ? T
    : never
  : never;

/** A store and its model, side by side. */
class Comparison {
  readonly #target: StoreTarget;
  readonly #model: Model;
  readonly #granted: StoreLease[] = [];
  #store: Store;
  /** Changes before this one are not kept by every store after a reopening. */
  #knownFrom = 0;
  #live: Promise<Change[]>;

  constructor(target: StoreTarget, revision: number) {
    this.#target = target;
    this.#store = target.store;
    this.#model = new Model(revision);
    this.#live = untilEnd(this.#store.watch(""));
  }

  async run(steps: readonly (Step | TimedStep)[]): Promise<void> {
    for (const step of steps) await this.#run(step);
    await this.#finishWatches();
  }

  async #run(step: Step | TimedStep): Promise<unknown> {
    switch (step.kind) {
      case "transact":
        return this.#transact([this.#plan(step.one)]);
      case "burst":
        return this.#transact(step.all.map((one) => this.#plan(one)));
      case "get":
        return expect(await this.#store.get(step.key)).toEqual(this.#model.entries.get(step.key));
      case "list":
        return this.#expectListing(step.prefix);
      case "grant":
        return this.#grant(step.ttlMs);
      case "renew":
        return this.#renew(step.lease);
      case "revoke":
        return this.#revoke(step.lease);
      case "advance":
        await this.#target.advance(step.ms);
        return this.#model.advance(step.ms);
      case "reopen":
        return this.#reopen();
    }
  }

  /** All requested in one turn, so that they are evaluated in their order. */
  async #transact(transactions: readonly Transaction[]): Promise<void> {
    const expected = transactions.map((one) => this.#model.transact(one));
    const outcomes = transactions.map((one) => this.#store.transact(one).catch(codeOf));
    expect(await Promise.all(outcomes)).toEqual(expected);
  }

  async #grant(ttlMs: number): Promise<void> {
    const lease = await this.#store.grantLease(ttlMs);
    expect(lease.epoch).toBeGreaterThan(this.#granted.at(-1)?.epoch ?? 0);
    this.#granted.push(lease);
    this.#model.start(lease);
    // A store may keep its epochs in a key of its own.
    this.#model.revision = (await this.#store.list("")).revision;
  }

  async #renew(index: number): Promise<void> {
    const lease = this.#lease(index);
    if (lease === undefined) return;
    const isAlive = this.#model.leases.has(lease.id);
    expect(await this.#store.renewLease(lease.id).catch(codeOf)).toEqual(isAlive ? lease : "STORE_LEASE_EXPIRED");
    if (isAlive) this.#model.start(lease);
  }

  async #revoke(index: number): Promise<void> {
    const lease = this.#lease(index);
    if (lease === undefined) return;
    await this.#store.revokeLease(lease.id);
    this.#model.end(lease.id);
  }

  async #reopen(): Promise<void> {
    await this.#finishWatches();
    this.#store = await this.#target.reopen();
    this.#model.restartLeases();
    this.#knownFrom = this.#model.changes.length;
    this.#live = untilEnd(this.#store.watch(""));
    await this.#expectListing("");
  }

  /** What came in live, and what is told of the past, must both be the model's changes, neither more nor fewer. */
  async #finishWatches(): Promise<void> {
    await this.#transact([{ writes: [{ put: END, value: "" }] }]);
    const expected = this.#model.changes.slice(this.#knownFrom);
    expect(await this.#live).toEqual(expected);
    const middle = expected[Math.floor(expected.length / 2)]?.revision ?? 0;
    const late = await untilEnd(this.#store.watch("", { afterRevision: middle - 1 }));
    expect(late).toEqual(expected.filter(({ revision }) => revision >= middle));
    await this.#transact([{ writes: [{ delete: END }] }]);
    await this.#expectListing("");
  }

  async #expectListing(prefix: string): Promise<void> {
    expect(await this.#store.list(prefix)).toEqual({
      entries: this.#model.list(prefix),
      revision: this.#model.revision,
    });
  }

  #plan({ compare, writes }: Planned): Transaction {
    return {
      compare: compare.map((one) => {
        const now = this.#model.entries.get(one.key)?.revision ?? 0;
        return { key: one.key, revision: { now, absent: 0, before: Math.max(now - 1, 0) }[one.against] ?? now };
      }),
      writes: writes.map((one): Write => {
        if (one.value === null) return { delete: one.key };
        const leaseId = one.lease === null ? undefined : this.#lease(one.lease)?.id;
        return { put: one.key, value: one.value, leaseId };
      }),
    };
  }

  /** A granted lease, which may be over; the latest ones, for they are alive more often. */
  #lease(index: number): StoreLease | undefined {
    const latest = this.#granted.slice(-4);
    return latest[index % latest.length];
  }
}

/** A store against the model, by random histories. */
export function describeStoreAgainstModel(
  name: string,
  open: () => Promise<StoreTarget>,
  { runs = 20, isDeterministic = false }: ModelOptions,
): void {
  const steps: fc.Arbitrary<(Step | TimedStep)[]> = isDeterministic
    ? fc.array(fc.oneof(...anywhere, ...deterministic), { minLength: 20, maxLength: 60, size: "max" })
    : fc.array(fc.oneof(...anywhere), { minLength: 20, maxLength: 60, size: "max" });

  describe(`random histories of ${name}`, () => {
    it("are those of the model", { timeout: 60_000 }, async () => {
      await fc.assert(
        fc.asyncProperty(steps, async (all) => {
          await using target = await open();
          const { revision } = await target.store.list("");
          await new Comparison(target, revision).run(all);
        }),
        { numRuns: runs },
      );
    });
  });
}

async function untilEnd(watch: AsyncIterable<Change>): Promise<Change[]> {
  const changes: Change[] = [];
  for await (const change of watch) {
    changes.push(change);
    if (change.key === END) break;
  }
  return changes;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : error;
}
