import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseRange } from "../../lib/netcfg/address-range.ts";
import { isAddress, isAddress6 } from "../../lib/netcfg/index.ts";
import { canonicalAddress, formatAddress, parseAddress } from "../../lib/netcfg/ip-address.ts";

/** What browsers make of it, who have to write RFC 5952 too. */
const byUrl = (address: string) => new URL(`http://[${address}]/`).hostname.slice(1, -1);

describe("an IPv6 address", () => {
  const group = fc.oneof(fc.constant(0), fc.nat(0xffff));
  const groups = fc.array(group, { minLength: 8, maxLength: 8 });

  it("has one canonical text, however it was written", () => {
    fc.assert(
      fc.property(groups, (parts) => {
        const long = parts.map((part) => part.toString(16).padStart(4, "0")).join(":");
        const canonical = canonicalAddress(long.toUpperCase());
        expect(canonical).toBe(byUrl(long));
        expect(canonicalAddress(byUrl(long))).toBe(canonical);
        const parsed = parseAddress(long);
        expect(parsed && formatAddress(parsed)).toBe(canonical);
        expect(parsed?.bits).toBe(BigInt(`0x${long.replaceAll(":", "")}`));
      }),
    );
  });

  it("may be written in every form of RFC 4291", () => {
    const forms = ["FD00:0:0::0001", "fd00:0000::1", "fd00::0.0.0.1", "fd00::1"];
    expect(forms.map(canonicalAddress)).toEqual(forms.map(() => "fd00::1"));
  });

  it.each([
    "",
    "fd00",
    "fd00::1%eth0",
    "fd00::1::2",
    "fd00::1 ",
    "fd00::1\n",
    "[fd00::1]",
    "fd00::1/64",
    "fd00::00001",
  ])("is not %j", (text) => {
    expect(isAddress6(text)).toBe(false);
    expect(isAddress(text)).toBe(false);
    expect(parseAddress(text)).toBeUndefined();
  });
});

describe("an IPv4 address", () => {
  it("is one number and one text", () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), (bits) => {
        const text = formatAddress({ family: 4, bits: BigInt(bits) });
        expect(isAddress(text)).toBe(true);
        expect(parseAddress(text)).toEqual({ family: 4, bits: BigInt(bits) });
        expect(canonicalAddress(text)).toBe(text);
      }),
    );
  });

  it.each([
    "",
    "10.0.0.01",
    "10.0.0.256",
    "10.0.1",
    "1",
    "0x0a.0.0.1",
    " 10.0.0.1",
    "10.0.0.1\n",
    "10.0.0.1/24",
    "::1",
  ])("is not %j", (text) => {
    expect(isAddress(text)).toBe(false);
  });
});

describe("a range", () => {
  it.each([
    ["10.0.0.5", 4, 0x0a000005n, 0x0a000005n],
    ["10.0.0.1-10.0.0.9", 4, 0x0a000001n, 0x0a000009n],
    ["10.0.0.128/25", 4, 0x0a000080n, 0x0a0000ffn],
    ["0.0.0.0/0", 4, 0n, 0xffffffffn],
    ["fd00::1-fd00::ff", 6, (0xfd00n << 112n) | 1n, (0xfd00n << 112n) | 0xffn],
    ["fd00::/127", 6, 0xfd00n << 112n, (0xfd00n << 112n) | 1n],
  ])("is read from %s", (text, family, first, last) => {
    expect(parseRange(text)).toEqual({ family, first, last, text });
  });

  it.each([
    "",
    "-",
    "10.0.0.1-",
    "10.0.0.9-10.0.0.1",
    "10.0.0.1-10.0.0.2-10.0.0.3",
    "10.0.0.1-fd00::1",
    "10.0.0.1/24",
    "10.0.0.0/33",
    "10.0.0.0/024",
    "10.0.0.0/24/25",
    "10.0.0.0/",
    "10.0.0.1 - 10.0.0.9",
    "all",
  ])("is not %j", (text) => {
    expect(() => parseRange(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
