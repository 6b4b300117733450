import * as fc from "fast-check";
import { expect, it } from "vitest";
import { FreeLists } from "../../lib/netcfg/free-lists.ts";
import { HostnamePattern, Network } from "../../lib/netcfg/index.ts";
import { LowestFree } from "../../lib/netcfg/lowest-free.ts";

it("finds what a search from the beginning finds, whatever is taken and freed in between", () => {
  const space = Network.parse({ subnet: "10.0.0.0/27" }).hosts;
  const all = Array.from({ length: space.capacity }, (_, i) => space.at(i));
  const step = fc.record({ count: fc.nat(6), take: fc.boolean(), other: fc.nat(29), free: fc.array(fc.nat(29)) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
      const taken = new Set<string>();
      const lowest = new LowestFree(space);
      for (const { count, take, other, free } of steps) {
        const found = lowest.find(count, (value) => !taken.has(value));
        expect(found).toEqual(all.filter((value) => !taken.has(value)).slice(0, count));
        if (take) for (const value of found) taken.add(value);
        taken.add(all[other] as string); // by name, of which the list is not told
        for (const i of free) if (taken.delete(all[i] as string)) lowest.freed(all[i] as string);
      }
    }),
  );
});

it("stays fast with thousands taken, and holes among them", () => {
  const pattern = HostnamePattern.parse("n-{index}");
  const taken = new Set<string>();
  const lowest = new LowestFree(pattern);
  const startedAt = performance.now();
  for (let i = 0; i < 100_000; i++) {
    for (const name of lowest.find(2, (value) => !taken.has(value))) taken.add(name);
    if (taken.size < 5000) continue;
    const name = pattern.at((i * 7919) % 5000);
    if (taken.delete(name)) lowest.freed(name);
  }
  expect(performance.now() - startedAt).toBeLessThan(5000);
});

it("finds the same when a space was forgotten for others", () => {
  const lists = new FreeLists();
  const find = (i: number, taken: string) =>
    lists.lowest("hostname", HostnamePattern.parse(`n${i}-{index}`), 1, (value) => value !== taken);
  for (let i = 0; i < 200; i++) expect(find(i, `n${i}-0`)).toEqual([`n${i}-1`]);
  expect(find(0, "")).toEqual(["n0-0"]); // nobody told that it was freed
  expect(find(199, "")).toEqual(["n199-1"]); // still known
});
