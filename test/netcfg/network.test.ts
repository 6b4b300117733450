import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Network } from "../../lib/netcfg/index.ts";

const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });

describe("Network.parse", () => {
  it("reads subnets and what is reserved of them", () => {
    const network = Network.parse({
      subnet: "10.77.0.0/24",
      subnet6: "fd77::/64",
      reserved: ["10.77.0.1-10.77.0.9", "10.77.0.128/25", "10.77.0.11", "fd77::1-fd77::ffff", "fd77:0:0:0:8000::/65"],
    });
    expect(network.subnet.cidr).toBe("10.77.0.0/24");
    expect(network.subnet6?.cidr).toBe("fd77::/64");
    expect(network.reservationOf("10.77.0.9")?.text).toBe("10.77.0.1-10.77.0.9");
    expect(network.reservationOf("fd77::8000:0:0:1")?.text).toBe("fd77:0:0:0:8000::/65");
    expect(network.reservationOf("10.77.0.10")).toBeUndefined();
    expect([0, 1, 2].map((i) => network.hosts.at(i))).toEqual(["10.77.0.10", "10.77.0.12", "10.77.0.13"]);
    expect([0, 1].map((i) => network.hosts6?.at(i))).toEqual(["fd77::1:0", "fd77::1:1"]);
    expect(network.hosts.capacity).toBe(127 - 10);
  });

  it.each([
    [{ subnet: "127.0.0.0/8" }],
    [{ subnet: "fd00::/64" }],
    [{ subnet: "10.0.0.0/24", subnet6: "10.0.1.0/24" }],
    [{ subnet: "10.0.0.0/24", subnet6: "fe80::/64" }],
    [{ subnet: "10.0.0.0/24", reserved: ["10.0.1.1"] }],
    [{ subnet: "10.0.0.0/24", reserved: ["10.0.0.0/23"] }],
    [{ subnet: "10.0.0.0/24", reserved: ["10.0.0.250-10.0.1.1"] }],
    [{ subnet: "10.0.0.0/24", reserved: ["fd00::1"] }],
    [{ subnet: "10.0.0.0/24", reserved: ["some"] }],
    [{ subnet: "10.0.0.0/8", reserved: Array.from({ length: 257 }, (_, i) => `10.0.${i % 256}.1`) }],
  ])("refuses %j", (spec) => {
    expect(() => Network.parse(spec)).toThrow(invalid);
  });
});

describe("the addresses that may be chosen", () => {
  it("are the hosts without what is reserved, in order, each with its number", () => {
    const range = fc.tuple(fc.nat(63), fc.nat(63)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
    fc.assert(
      fc.property(fc.array(range, { maxLength: 5 }), fc.boolean(), (ranges, isIpv6) => {
        const text = (i: number) => (isIpv6 ? `fd00::${i.toString(16)}`.replace("::0", "::") : `10.0.0.${i}`);
        const network = Network.parse({
          subnet: "10.0.0.0/26",
          subnet6: "fd00::/122",
          reserved: ranges.map(([first, last]) => `${text(first)}-${text(last)}`),
        });
        const space = isIpv6 ? network.hosts6 : network.hosts;
        const expected = Array.from({ length: isIpv6 ? 63 : 62 }, (_, i) => i + 1)
          .filter((i) => !ranges.some(([first, last]) => i >= first && i <= last))
          .map(text);
        expect(Array.from({ length: space?.capacity ?? 0 }, (_, i) => space?.at(i))).toEqual(expected);
        expect(expected.map((address) => space?.numberOf(address))).toEqual(expected.map((_, i) => i));
        for (const [first] of ranges) expect(space?.numberOf(text(first))).toBeUndefined();
      }),
    );
  });
});
