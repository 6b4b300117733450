import { expect, it } from "vitest";
import { Pace } from "../../lib/substrate/pace.ts";

it("waits for as long as it is ahead, and not when it is behind", async () => {
  const waits: number[] = [];
  let now = 1000;
  const wait = async (ms: number) => {
    waits.push(ms);
    now += ms;
  };
  const pace = new Pace(100, { now: () => now, wait });
  await pace.spend(10, undefined); // 100 ms worth
  await pace.spend(10, undefined);
  now += 1000; // somebody else was slow
  await pace.spend(50, undefined);
  await pace.spend(60, undefined); // 130 bytes: due after 1300 ms, of which 1200 have passed
  expect(waits).toEqual([100, 100, expect.closeTo(100)]);
});
