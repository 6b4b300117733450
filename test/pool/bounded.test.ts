import { describe, expect, it } from "vitest";
import { allOrNothing } from "../../lib/pool/bounded.ts";

const live = new AbortController().signal;
const noUndo = async () => {};

describe("allOrNothing", () => {
  it("gives results in the items' order, whatever order they are ready in", async () => {
    const turns = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const work = async (n: number) => {
      await turns[n]?.promise;
      return n * 10;
    };
    const working = allOrNothing([0, 1, 2], 3, live, work, noUndo);
    for (const turn of turns.toReversed()) turn.resolve();
    expect(await working).toEqual([0, 10, 20]);
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
    await allOrNothing([0, 1, 2, 3, 4, 5, 6], 3, live, work, noUndo);
    expect(most).toBe(3);
    expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it("with one failing, begins no more, tells the others, and undoes what had succeeded before it throws", async () => {
    const begun: number[] = [];
    const undone: number[] = [];
    const work = async (n: number, signal: AbortSignal) => {
      begun.push(n);
      if (n === 0) return n;
      if (n === 1) throw new Error("first");
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      throw new Error("told");
    };
    const undo = async (n: number) => {
      await new Promise(setImmediate);
      undone.push(n);
    };
    await expect(allOrNothing([0, 2, 1, 3, 4], 3, live, work, undo)).rejects.toThrow("first");
    expect(undone).toEqual([0]);
    expect(begun).not.toContain(4);
  });

  it("undoes all when the caller gives up, also what ignores the signal, and goes on when an undo fails", async () => {
    const controller = new AbortController();
    const undone: number[] = [];
    const work = async (n: number) => {
      if (n === 1) controller.abort(new Error("enough"));
      return n;
    };
    const undo = async (n: number) => {
      undone.push(n);
      throw new Error("undo failed");
    };
    await expect(allOrNothing([0, 1, 2], 2, controller.signal, work, undo)).rejects.toThrow("enough");
    expect(undone).toEqual([0, 1]);
  });

  it("does nothing with nothing", async () => {
    expect(await allOrNothing([], 3, live, async () => 1, noUndo)).toEqual([]);
  });
});
