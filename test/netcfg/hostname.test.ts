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
