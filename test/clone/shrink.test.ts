import * as fc from "fast-check";
import { expect, it } from "vitest";
import { fitting } from "../../lib/clone/shrink.ts";

const modules = (sizesMiB: readonly number[]) =>
  sizesMiB.map((sizeMiB, i) => ({ id: `removable-dimm${i}`, sizeMiB, address: 0 }));
const sizesOf = (sizesMiB: readonly number[], excessMiB: number) =>
  fitting(modules(sizesMiB), excessMiB).map(({ sizeMiB }) => sizeMiB);

it("takes the modules away that come closest to what is too much", () => {
  expect(sizesOf([384, 256, 128], 100)).toEqual([]);
  expect(sizesOf([384, 256, 128], 300)).toEqual([256]);
  expect(sizesOf([384, 256, 128], 400)).toEqual([384]);
  expect(sizesOf([384, 256, 128], 600)).toEqual([384, 128]);
  expect(sizesOf([384, 256, 128], 5000)).toEqual([384, 256, 128]);
  expect(sizesOf([], 5000)).toEqual([]);
  expect(sizesOf([128], -128)).toEqual([]);
});

it("never takes more, and nothing further could be taken", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 5 }), fc.nat(100), (sizes, excess) => {
      const taken = fitting(modules(sizes), excess);
      const sum = taken.reduce((total, { sizeMiB }) => total + sizeMiB, 0);
      expect(sum).toBeLessThanOrEqual(excess);
      for (const module of modules(sizes)) {
        if (!taken.some(({ id }) => id === module.id)) expect(sum + module.sizeMiB).toBeGreaterThan(excess);
      }
    }),
  );
});
