import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseSelector } from "../../daemon/label-selector.ts";

const LABELS = { match: "17", tier: "gold", "app/role": "db", empty: "", comma: "a,b", closing: "x)" };

describe("a label selector", () => {
  it.each([
    ["", true],
    ["   ", true],
    ["match=17", true],
    ["match==17", true],
    ["match = 17", true],
    ["match=18", false],
    ["match!=18", true],
    ["match!=17", false],
    ["nothing!=17", true],
    ["nothing=17", false],
    ["match", true],
    ["!match", false],
    ["! nothing", true],
    ["nothing", false],
    ["app/role=db", true],
    ["tier in (gold, silver)", true],
    ["tier in (silver)", false],
    ["tier in(gold)", true],
    ["tier notin (silver)", true],
    ["tier notin (gold)", false],
    ["nothing notin (gold)", true],
    ["nothing in (gold)", false],
    ["empty=", true],
    ["empty", true],
    ["empty in ()", true],
    ["match=17,tier=gold", true],
    ["match=17, tier=silver", false],
    ["tier in (gold,silver),match=17,!nothing", true],
    ["match=17,closing=x)", true],
    ["closing=x),match=18", false],
    ["nothing in (\0)", false],
    ["toString", false],
    ["!constructor", true],
    ["hasOwnProperty!=x", true],
  ])("%j is %s", (text, holds) => {
    expect(parseSelector(text)(LABELS)).toBe(holds);
  });

  it.each([
    ",",
    "match=17,",
    ",match=17",
    "=17",
    "!",
    "a b",
    "tier in gold",
    "tier in (gold",
    "-x=1",
    "x in (a) b",
    "_a",
  ])("%j is refused", (text) => {
    expect(() => parseSelector(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  const key = fc.stringMatching(/^[a-z0-9]{1,8}$/);
  const value = fc.stringMatching(/^[a-z0-9.=!-]{0,8}$/);

  it("holds for what equality says, of any labels", () => {
    fc.assert(
      fc.property(fc.dictionary(key, value), key, value, (labels, k, v) => {
        const isEqual = Object.hasOwn(labels, k) && labels[k] === v;
        expect(parseSelector(`${k}=${v.replace(/^=/, "")}`)(labels)).toBe(
          Object.hasOwn(labels, k) && labels[k] === v.replace(/^=/, ""),
        );
        expect(parseSelector(`${k} in (${v}, other!)`)(labels)).toBe(isEqual);
        expect(parseSelector(`${k} notin (${v})`)(labels)).toBe(!isEqual);
        expect(parseSelector(k)(labels)).toBe(Object.hasOwn(labels, k));
      }),
    );
  });

  it("is read or refused, whatever it is, and soon", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 400 }), (text) => {
        try {
          expect(typeof parseSelector(text)(LABELS)).toBe("boolean");
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
        }
      }),
    );
    const startedAt = performance.now();
    for (const hostile of [",".repeat(4096), "a in (".repeat(600), "a".repeat(4096), `a${" ".repeat(4090)}=`]) {
      expect(() => parseSelector(hostile)).toSatisfy(() => true);
      try {
        parseSelector(hostile);
      } catch {}
    }
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});
