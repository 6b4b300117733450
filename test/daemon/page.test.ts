import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { page } from "../../daemon/page.ts";

const byItself = (item: string) => item;

describe("a list in pages", () => {
  it("has every item once, in order", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ minLength: 1 })), fc.integer({ min: 1, max: 7 }), (given, limit) => {
        const items = given.filter((item) => item.isWellFormed()).toSorted((a, b) => (a < b ? -1 : 1));
        const seen: string[] = [];
        for (let cursor: string | undefined; ; ) {
          const { items: some, next } = page(items, { limit, cursor }, byItself);
          expect(some.length).toBeLessThanOrEqual(limit);
          seen.push(...some);
          if (next === undefined) break;
          cursor = next;
        }
        expect(seen).toEqual(items);
      }),
    );
  });

  it("shows nothing twice and leaves nothing out that was there all along, while items come and go", () => {
    const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,3}$/), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(names, fc.array(fc.tuple(fc.stringMatching(/^[a-z]{1,3}$/), fc.boolean())), (stay, changes) => {
        const there = new Set(stay);
        const seen: string[] = [];
        let cursor: string | undefined;
        do {
          const sorted = [...there].toSorted();
          const { items, next } = page(sorted, { limit: 2, cursor }, byItself);
          seen.push(...items);
          cursor = next;
          const [name = "", comes] = changes.pop() ?? [];
          if (comes) there.add(name);
          else if (!stay.includes(name)) there.delete(name);
        } while (cursor !== undefined);
        expect(new Set(seen).size).toBe(seen.length);
        expect(stay.filter((item) => !seen.includes(item))).toEqual([]);
      }),
    );
  });

  it.each(["%", "a b", "=", "\0", "ä", "AAA=", "_-_-/", "____", Buffer.from([0xff, 0xfe]).toString("base64url")])(
    "refuses the cursor %j",
    (cursor) => {
      expect(() => page(["a"], { limit: 1, cursor }, byItself)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    },
  );

  it("takes any text for a place between items", () => {
    const cursor = Buffer.from("__proto__").toString("base64url");
    expect(page(["a", "zz"], { limit: 5, cursor }, byItself)).toEqual({ items: ["a", "zz"] });
    expect(page([], { limit: 5, cursor: "" }, byItself)).toEqual({ items: [] });
  });
});
