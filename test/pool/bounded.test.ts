import { describe, expect, it } from "vitest";
import { settleBounded } from "../../lib/pool/bounded.ts";

const live = new AbortController().signal;

describe("settleBounded", () => {
  it("gives results in the items' order, whatever order they are ready in", async () => {
    const turns = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const work = async (n: number) => {
      await turns[n]?.promise;
      return n * 10;
    };
    const working = settleBounded([0, 1, 2], { limit: 3, signal: live, failFast: true }, work);
    for (const turn of turns.toReversed()) turn.resolve();
    expect(await working).toEqual([0, 10, 20].map((value) => ({ status: "fulfilled", value })));
  });

  it("has at most `limit` under way, and begins in order", async () => {
    const begun: number[] = [];
    let busy = 0;
    let most = 0;
    const work = async (n: number) => {
      begun.push(n);
      most = Math.max(most, ++busy);
      await new Promise(setImmediate);
      busy--;
    };
    await settleBounded([0, 1, 2, 3, 4, 5, 6], { limit: 3, signal: live, failFast: false }, work);
    expect(most).toBe(3);
    expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it("begins no more after a failure when it is to fail fast, and tells those that are under way", async () => {
    const begun: number[] = [];
    let told = false;
    const work = async (n: number, signal: AbortSignal) => {
      begun.push(n);
      if (n === 1) throw new Error("first");
      await new Promise<void>((resolve) => {
        if (n === 0) signal.addEventListener("abort", () => resolve());
        else resolve();
      });
      told = signal.aborted;
      return n;
    };
    const results = await settleBounded([0, 1, 2, 3], { limit: 2, signal: live, failFast: true }, work);
    expect(begun).toEqual([0, 1]);
    expect(told).toBe(true);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected", "rejected"]);
    for (const result of results.slice(1)) expect(result).toMatchObject({ reason: { message: "first" } });
  });

  it("goes on after a failure when it is not", async () => {
    const work = async (n: number) => {
      if (n === 0) throw new Error("only this one");
      return n;
    };
    const results = await settleBounded([0, 1, 2], { limit: 1, signal: live, failFast: false }, work);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "fulfilled"]);
  });

  it("begins nothing for a signal that has fired", async () => {
    const signal = AbortSignal.abort(new Error("too late"));
    const results = await settleBounded([0, 1], { limit: 1, signal, failFast: false }, async () => {
      throw new Error("begun");
    });
    for (const result of results) expect(result).toMatchObject({ reason: { message: "too late" } });
  });
});
