import { describe, expect, it } from "vitest";
import { isUnicastMac, linkLocalOf, randomMac } from "../../lib/netcfg/index.ts";

it("randomMac gives unicast, locally administered addresses that do not repeat", () => {
  const macs = Array.from({ length: 2000 }, randomMac);
  for (const mac of macs) {
    expect(isUnicastMac(mac)).toBe(true);
    expect(Number.parseInt(mac.slice(0, 2), 16) & 2, "locally administered").toBe(2);
  }
  expect(new Set(macs).size).toBe(macs.length);
});

describe("isUnicastMac", () => {
  it.each(["02:00:00:00:00:00", "52:54:00:12:34:56", "00:00:00:00:00:01", "fe:ff:ff:ff:ff:ff"])("takes %s", (mac) => {
    expect(isUnicastMac(mac)).toBe(true);
  });

  it.each([
    "",
    "00:00:00:00:00:00",
    "ff:ff:ff:ff:ff:ff",
    "01:00:5e:00:00:01",
    "33:33:00:00:00:01",
    "02:00:00:00:00:0A",
    "02-00-00-00-00-01",
    "0200.0000.0001",
    "02:00:00:00:01",
    "02:00:00:00:00:01:02",
    "2:0:0:0:0:1",
    "02:00:00:00:00:01\n",
    "02:00:00:00:00:01,id=x",
  ])("refuses %j", (mac) => {
    expect(isUnicastMac(mac)).toBe(false);
  });
});

describe("linkLocalOf", () => {
  // The first is the example of RFC 4291, appendix A, and of RFC 2464, 4.
  it.each([
    ["34:56:78:9a:bc:de", "fe80::3656:78ff:fe9a:bcde"],
    ["02:00:00:00:00:01", "fe80::ff:fe00:1"],
    ["00:00:00:00:00:01", "fe80::200:ff:fe00:1"],
    ["52:54:00:12:34:56", "fe80::5054:ff:fe12:3456"],
  ])("of %s is %s", (mac, address) => {
    expect(linkLocalOf(mac)).toBe(address);
  });
});
