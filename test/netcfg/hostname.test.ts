import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HostnamePattern } from "../../lib/netcfg/index.ts";

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });

describe("a hostname", () => {
  it.each(["a", "0", "a-b", "a--b", "node-17", "x".repeat(63)])("may be %s", (name) => {
    expect(HostnamePattern.parse(name).at(0)).toBe(name);
  });

  it.each([
    "",
    "-a",
    "a-",
    "-",
    "A",
    "a.b",
    "a_b",
    "a b",
    "a\n",
    "a\r",
    "\na",
    "a\0",
    "$(reboot)",
    "`id`",
    "-oProxyCommand=x",
    "a;b",
    "a,b",
    "a=b",
    "ä",
    "xn--\u00e4",
    "\u0430",
    "x".repeat(64),
    "x".repeat(300),
  ])("may not be %j", (name) => {
    expect(() => HostnamePattern.parse(name)).toThrow(invalid);
  });
});

describe("HostnamePattern", () => {
  it("puts the number where {index} is", () => {
    const pattern = HostnamePattern.parse("match-{index}-eu");
    expect(pattern.isIndexed).toBe(true);
    expect([0, 7, 123].map((index) => pattern.at(index))).toEqual(["match-0-eu", "match-7-eu", "match-123-eu"]);
  });

  it("is one name without {index}", () => {
    const pattern = HostnamePattern.parse("solo");
    expect(pattern.isIndexed).toBe(false);
    expect(pattern.at(5)).toBe("solo");
  });

  it("has room for a four-digit number, so that it does not fail in use", () => {
    expect(() => HostnamePattern.parse(`${"x".repeat(60)}{index}`)).toThrow(invalid);
    expect(HostnamePattern.parse(`${"x".repeat(59)}{index}`).at(9999)).toHaveLength(63);
  });

  it.each(["{Index}", "{index", "a-{index}-", "-{index}", "{index}.a", "{}"])("refuses %s", (pattern) => {
    expect(() => HostnamePattern.parse(pattern)).toThrow(invalid);
  });

  it("makes nothing but hostnames, whatever it is parsed from", () => {
    const unit = fc.constantFrom("a", "-", "{index}", "9", "{", "}", " ", "\n", "$", "A", "é");
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 12 }), fc.nat(9999), (text, index) => {
        let pattern: HostnamePattern;
        try {
          pattern = HostnamePattern.parse(text);
        } catch (error) {
          expect(error).toEqual(invalid);
          return;
        }
        expect(pattern.at(index)).toMatch(LABEL);
      }),
    );
  });
});

describe("the names of a pattern", () => {
  it("have the numbers that make them, and no others do", () => {
    const unit = fc.constantFrom("a", "-", "{index}", "0", "9");
    fc.assert(
      fc.property(fc.string({ unit, minLength: 1, maxLength: 6 }), fc.nat(120), fc.nat(120), (text, one, other) => {
        const made = patternOrNone(text);
        fc.pre(made !== undefined);
        const name = made.at(one);
        expect(made.numberOf(name)).toBe(made.isIndexed ? one : 0);
        if (made.at(other) !== name) expect(made.numberOf(made.at(other))).not.toBe(one);
        expect(made.numberOf(`x${name}`)).toBeUndefined();
      }),
    );
  });

  it("are as many as fit into a label", () => {
    expect(HostnamePattern.parse("solo").capacity).toBe(1);
    expect(HostnamePattern.parse(`${"x".repeat(59)}{index}`).capacity).toBe(10_000);
    expect(HostnamePattern.parse(`${"x".repeat(54)}{index}-{index}`).capacity).toBe(10_000);
    expect(HostnamePattern.parse("n-{index}").capacity).toBe(10 ** 15);
  });

  it("are written without leading zeros", () => {
    const pattern = HostnamePattern.parse("n{index}");
    expect(["n7", "n07", "n", "n-7", "m7", "n7a", "n7e1"].map((name) => pattern.numberOf(name))).toEqual([
      7,
      ...Array.from({ length: 6 }),
    ]);
  });
});

function patternOrNone(text: string): HostnamePattern | undefined {
  try {
    return HostnamePattern.parse(text);
  } catch {
    return undefined;
  }
}
