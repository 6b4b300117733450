import { describe, expect, it } from "vitest";
import { formatReference, parseReference } from "../../lib/substrate/index.ts";

describe("parseReference", () => {
  it.each([
    ["mini", "mini", undefined, "mini"],
    ["mini@latest", "mini", undefined, "mini"],
    ["mini@3", "mini", 3, "mini@3"],
    ["a-1@999999999", "a-1", 999_999_999, "a-1@999999999"],
  ])("reads %s", (text, name, version, one) => {
    expect(parseReference(text)).toEqual({ name, version });
    expect(formatReference({ name, version })).toBe(one);
  });

  it.each([
    "",
    "@3",
    "mini@",
    "mini@0",
    "mini@03",
    "mini@-1",
    "mini@1.5",
    "mini@1e3",
    "mini@newest",
    "mini@1@2",
    "Mini",
    "../x",
    "a/b@1",
    "mini@1\n",
    "a".repeat(42),
    "mini@1000000000",
  ])("refuses %j", (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
