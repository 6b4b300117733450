import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { Turns } from "../../lib/core/turns.ts";

const forever = new AbortController().signal;

describe("Turns", () => {
  it("lets one in at a time, in the order of asking", async () => {
    const turns = new Turns();
    const order: number[] = [];
    let inside = 0;
    const task = async (number: number) => {
      const end = await turns.take(forever);
      expect(++inside).toBe(1);
      await Promise.resolve();
      order.push(number);
      inside--;
      end();
    };
    await Promise.all([1, 2, 3, 4].map(task));
    expect(order).toEqual([1, 2, 3, 4]);
  });

  it("forgets one who no longer wants to wait", async () => {
    const turns = new Turns();
    const endFirst = await turns.take(forever);
    const controller = new AbortController();
    const second = turns.take(controller.signal);
    const third = turns.take(forever);
    expect(turns.waiting).toBe(2);
    controller.abort(new Error("enough"));
    await expect(second).rejects.toThrow("enough");
    endFirst();
    (await third)();
    expect(turns.waiting).toBe(0);
  });

  it("lets nobody slip in while a turn passes on", async () => {
    const turns = new Turns();
    const order: string[] = [];
    const endFirst = await turns.take(forever);
    const second = turns.take(forever).then((end) => {
      order.push("second");
      return end;
    });
    endFirst();
    const third = turns.take(forever).then((end) => {
      order.push("third");
      return end;
    });
    const endSecond = await second;
    await nextTurn();
    expect(order).toEqual(["second"]);
    endSecond();
    (await third)();
    expect(order).toEqual(["second", "third"]);
  });
});
