import { expect, it } from "vitest";
import { Demand } from "../../lib/pool/demand.ts";

it("asks for no more than the minimum while nothing is claimed", () => {
  expect(new Demand(() => 0).depth(3, 10)).toBe(3);
});

it("asks for as many as are claimed while clones are made, between the bounds", () => {
  const demand = new Demand(() => 1000);
  demand.refilled(500);
  demand.claimed(100); // 10 per second: 5 during one refill, kept twice
  expect(demand.depth(2, 32)).toBe(10);
  expect(demand.depth(2, 6)).toBe(6);
  expect(demand.depth(12, 32)).toBe(12);
});

it("forgets claims that are older than its window", () => {
  let now = 0;
  const demand = new Demand(() => now);
  demand.refilled(500);
  demand.claimed(100);
  now = 9_999;
  expect(demand.depth(2, 32)).toBe(10);
  now = 10_000;
  expect(demand.depth(2, 32)).toBe(2);
});

it("follows refills that become slower, but not at once", () => {
  const demand = new Demand(() => 0);
  demand.claimed(100);
  demand.refilled(100);
  demand.refilled(1100);
  expect(demand.depth(0, 1000)).toBe(8); // 100 + 0.3 * 1000 = 400 ms
});
