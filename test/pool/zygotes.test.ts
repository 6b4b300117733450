import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Zygote } from "../../lib/clone/index.ts";
import { silentLogger, VmSubstrateError } from "../../lib/core/index.ts";
import { Zygotes } from "../../lib/pool/zygotes.ts";
import type { LoadedSubstrate } from "../../lib/substrate/index.ts";
import { eventually } from "../support/eventually.ts";

const NEVER = new AbortController().signal;

/** What there is of a zygote for whoever keeps it. */
class FakeZygote implements AsyncDisposable {
  readonly pid: number;
  readonly end = Promise.withResolvers<void>();
  readonly ended = this.end.promise;
  isDisposed = false;

  constructor(pid: number) {
    this.pid = pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isDisposed = true;
    this.end.resolve();
  }
}

class FakeSubstrate {
  readonly manifest;
  readonly instants: string[];
  readonly dependents = new AsyncDisposableStack();

  constructor({ accelerator = "tcg", vmGenerationId = false, helper = true, instants = [] as string[] } = {}) {
    this.manifest = { accelerator, guest: { helper, identity: { vmGenerationId } } };
    this.instants = instants;
  }

  endBefore(dependent: AsyncDisposable): void {
    this.dependents.use(dependent);
  }

  get loaded(): LoadedSubstrate {
    return this as unknown as LoadedSubstrate;
  }
}

let working: Set<string>;
let tracked: Map<string, number>;
let made: FakeZygote[];
/** What the next attempts end with, in place of a zygote. */
let failures: Error[];
let shortage: Error | undefined;
/** For how many clones there was to be room. */
let asked: number[];
let hold: Promise<void>;
let idle: PromiseWithResolvers<void>;
let zygotes: Zygotes;
beforeEach(() => {
  [working, tracked, made, failures, shortage, asked] = [new Set(), new Map(), [], [], undefined, []];
  hold = Promise.resolve();
  idle = Promise.withResolvers();
  zygotes = new Zygotes({
    make: async () => {
      await hold;
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      const zygote = new FakeZygote(1000 + made.length);
      made.push(zygote);
      return zygote as unknown as Zygote;
    },
    memory: { track: (id, pid) => tracked.set(id, pid), forget: (id) => tracked.delete(id) },
    room: {
      reserve: async (count) => {
        asked.push(count);
        if (shortage !== undefined) throw shortage;
        return { [Symbol.dispose]: () => {} };
      },
    },
    working,
    idle: () => idle.promise,
    logger: silentLogger,
  });
});
afterEach(async () => {
  idle.resolve();
  await zygotes[Symbol.asyncDispose]();
  expect([working.size, tracked.size]).toEqual([0, 0]);
  expect(made.every(({ isDisposed }) => isDisposed)).toBe(true);
});

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

describe("a zygote", () => {
  it("is made when a second clone is launched and no claim is under way", async () => {
    const { loaded } = new FakeSubstrate();
    expect(zygotes.of(loaded)).toBeUndefined();
    idle.resolve();
    await settled();
    expect(made).toHaveLength(0);
    idle = Promise.withResolvers();
    expect(zygotes.of(loaded)).toBeUndefined();
    await settled();
    expect(made).toHaveLength(0);
    idle.resolve();
    await eventually(() => expect(zygotes.of(loaded)?.pid).toBe(1000));
    expect(made).toHaveLength(1);
  });

  it("is tracked as a clone is, under a name of its own", async () => {
    await zygotes.prepare(new FakeSubstrate().loaded, 4, NEVER);
    expect([...tracked.values()]).toEqual([1000]);
    expect([...tracked.keys()][0]).toMatch(/^zygote-[a-z0-9]{5}$/);
    expect(working).toContain([...tracked.keys()][0]);
  });

  it("is one for each substrate, however many wait for it", async () => {
    const [one, other] = [new FakeSubstrate().loaded, new FakeSubstrate().loaded];
    await Promise.all([one, one, other, one].map((loaded) => zygotes.prepare(loaded, 4, NEVER)));
    expect(made).toHaveLength(2);
    expect(zygotes.of(one)).not.toBe(zygotes.of(other));
  });

  it.each([
    ["of a substrate for KVM", { accelerator: "kvm" }],
    ["of a guest with a generation ID", { vmGenerationId: true }],
    ["of a guest without a helper", { helper: false }],
    ["of what forks are made of", { instants: ["a"] }],
  ])("is not made %s", async (_, options) => {
    const { loaded } = new FakeSubstrate(options);
    await zygotes.prepare(loaded, 4, NEVER);
    expect(zygotes.of(loaded)).toBeUndefined();
    expect(made).toHaveLength(0);
  });

  it("is given up after three failures", async () => {
    const { loaded } = new FakeSubstrate();
    failures = [new Error("1"), new Error("2"), new Error("3")];
    for (let i = 0; i < 5; i++) await zygotes.prepare(loaded, 4, NEVER);
    expect(failures).toEqual([]);
    expect(made).toHaveLength(0);
  });

  it("is made where the clones of the call have room beside it, and keeps room for itself and its trial only", async () => {
    await zygotes.prepare(new FakeSubstrate().loaded, 64, NEVER);
    expect(asked).toEqual([65, 2]);
  });

  it("is made when there is memory again, however often there was none", async () => {
    const { loaded } = new FakeSubstrate();
    shortage = new VmSubstrateError("INSUFFICIENT_MEMORY", "none");
    for (let i = 0; i < 5; i++) await zygotes.prepare(loaded, 4, NEVER);
    shortage = undefined;
    await zygotes.prepare(loaded, 4, NEVER);
    expect(zygotes.of(loaded)).toBe(made[0]);
  });

  it("that has ended is replaced when it is wanted again", async () => {
    const { loaded } = new FakeSubstrate();
    await zygotes.prepare(loaded, 4, NEVER);
    made[0]?.end.resolve();
    await settled();
    idle.resolve();
    for (let i = 0; i < 2; i++) expect(zygotes.of(loaded)).toBeUndefined();
    await eventually(() => expect(zygotes.of(loaded)?.pid).toBe(1001));
    expect(made[0]?.isDisposed).toBe(true);
  });

  it("that could not be forked is ended", async () => {
    const { loaded } = new FakeSubstrate();
    await zygotes.prepare(loaded, 4, NEVER);
    const [zygote] = made;
    zygotes.failed(zygote as unknown as Zygote, new Error("no"));
    expect(zygotes.of(loaded)).toBeUndefined();
    await settled();
    expect(zygote?.isDisposed).toBe(true);
    expect(tracked.size).toBe(0);
  });

  it("ends before its substrate's memory is taken away, also while it is made", async () => {
    const [ready, late] = [new FakeSubstrate(), new FakeSubstrate()];
    await zygotes.prepare(ready.loaded, 4, NEVER);
    const held = Promise.withResolvers<void>();
    hold = held.promise;
    const making = zygotes.prepare(late.loaded, 4, NEVER);
    const ends = Promise.all([ready, late].map(({ dependents }) => dependents.disposeAsync()));
    held.resolve();
    await Promise.all([ends, making]);
    expect(made.map(({ isDisposed }) => isDisposed)).toEqual([true, true]);
  });

  it("is not waited for by a call that was aborted", async () => {
    const held = Promise.withResolvers<void>();
    hold = held.promise;
    const { loaded } = new FakeSubstrate();
    const giveUp = new AbortController();
    const waiting = zygotes.prepare(loaded, 4, giveUp.signal);
    giveUp.abort(new Error("given up"));
    await expect(waiting).rejects.toThrow("given up");
    await expect(zygotes.prepare(loaded, 4, giveUp.signal)).rejects.toThrow("given up");
    held.resolve();
    await eventually(() => expect(zygotes.of(loaded)).toBeDefined());
  });
});
