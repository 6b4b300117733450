import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HostSpace } from "../../lib/netcfg/host-space.ts";
import { Subnet, Subnet6 } from "../../lib/netcfg/index.ts";

const hostsOf = (subnet: Subnet, count: number) => {
  const space = new HostSpace(subnet, []);
  return Array.from({ length: Math.min(count, space.capacity) }, (_, i) => space.at(i));
};

const octets = (bits: number) => [24, 16, 8, 0].map((shift) => (bits >>> shift) & 0xff).join(".");
const network = fc
  .tuple(fc.nat(0xffffffff), fc.integer({ min: 8, max: 30 }))
  .map(([bits, length]) => ({ bits: (bits & (0xffffffff << (32 - length))) >>> 0, length }));

describe("Subnet.parse", () => {
  it.each([
    ["10.77.0.0/16", 65_534],
    ["192.168.1.0/24", 254],
    ["10.0.0.0/8", 2 ** 24 - 2],
    ["10.0.0.4/30", 2],
    ["255.255.255.252/30", 2],
    ["0.0.0.0/8", 2 ** 24 - 2],
  ])("reads %s, which has room for %d hosts", (cidr, capacity) => {
    expect(Subnet.parse(cidr)).toMatchObject({ cidr, capacity });
  });

  it.each([
    "",
    "10.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/7",
    "10.0.0.0/31",
    "10.0.0.0/32",
    "10.0.0.0/-1",
    "10.0.0.0/24.0",
    "10.0.0.0/2e1",
    "10.0.0.0/024",
    "10.0.0.0/ 24",
    " 10.0.0.0/24",
    "10.0.0.0/24\n",
    "10.0.0/24",
    "10/8",
    "010.0.0.0/8",
    "256.0.0.0/8",
    "10.0.0.0.0/8",
    "0x0a.0.0.0/8",
    "167772160/8",
    "fd00::/64",
    "::ffff:10.0.0.0/24",
    "10.0.0.0/24;reboot",
  ])("refuses %j", (cidr) => {
    expect(() => Subnet.parse(cidr)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("refuses host bits and names the network", () => {
    expect(() => Subnet.parse("10.77.3.4/16")).toThrow(/host bits are set; the network is "10.77.0.0\/16"/);
  });

  it("refuses a second slash", () => {
    expect(() => Subnet.parse("10.0.0.0/24/8")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("takes every network, and none with host bits", () => {
    fc.assert(
      fc.property(network, fc.nat(), ({ bits, length }, extra) => {
        expect(Subnet.parse(`${octets(bits)}/${length}`).prefixLength).toBe(length);
        const host = (extra % (2 ** (32 - length) - 1)) + 1;
        expect(() => Subnet.parse(`${octets((bits | host) >>> 0)}/${length}`)).toThrow();
      }),
    );
  });
});

describe("hosts", () => {
  it("are all contained, in order, without the network's and the broadcast address", () => {
    fc.assert(
      fc.property(network, ({ bits, length }) => {
        const subnet = Subnet.parse(`${octets(bits)}/${length}`);
        const first = hostsOf(subnet, 50);
        expect(first).toEqual(first.map((_, i) => octets(bits + 1 + i)));
        expect(first.every((address) => subnet.contains(address))).toBe(true);
        const broadcast = bits + 2 ** (32 - length) - 1;
        expect(subnet.contains(octets(bits))).toBe(false);
        expect(subnet.contains(octets(broadcast))).toBe(false);
        expect(subnet.contains(octets(broadcast - 1))).toBe(true);
        if (broadcast < 0xffffffff) expect(subnet.contains(octets(broadcast + 1))).toBe(false);
      }),
    );
  });

  it("are as many as the capacity", () => {
    for (const cidr of ["10.0.0.0/30", "10.0.0.0/29", "10.0.0.0/24", "255.255.0.0/20"]) {
      const subnet = Subnet.parse(cidr);
      const hosts = hostsOf(subnet, Number.POSITIVE_INFINITY);
      expect(hosts).toHaveLength(subnet.capacity);
      expect(new Set(hosts).size).toBe(subnet.capacity);
    }
  });

  it("contain no text that is not an address", () => {
    const subnet = Subnet.parse("10.0.0.0/24");
    for (const text of ["", "10.0.0.01", "10.0.1", "10.0.0.1 ", "10.0.0.1/24", "10.0.0.1\n", "::1"]) {
      expect(subnet.contains(text), text).toBe(false);
    }
  });
});

describe("overlaps", () => {
  it("is symmetric, and true exactly when one holds the other", () => {
    fc.assert(
      fc.property(network, network, (a, b) => {
        const [one, other] = [a, b].map(({ bits, length }) => Subnet.parse(`${octets(bits)}/${length}`));
        if (!one || !other) return;
        const shorter = Math.min(a.length, b.length);
        expect(one.overlaps(other)).toBe(a.bits >>> (32 - shorter) === b.bits >>> (32 - shorter));
        expect(other.overlaps(one)).toBe(one.overlaps(other));
        expect(one.overlaps(one)).toBe(true);
      }),
    );
  });
});

describe("Subnet6", () => {
  it.each([
    ["fd77::/64", "fd77::/64", 2 ** 64 - 1],
    ["FD77:0:0:0::/48", "fd77::/48", 2 ** 80 - 1],
    ["2a00:1450:4001:80b::8/126", "2a00:1450:4001:80b::8/126", 3],
    ["2001:db8::/64", "2001:db8::/64", 2 ** 64 - 1],
  ])("reads %s as %s, which has room for %d hosts", (text, cidr, capacity) => {
    expect(Subnet6.parse(text)).toMatchObject({ cidr, capacity, isUsable: true });
  });

  it.each([
    "",
    "fd00::",
    "fd00::/47",
    "fd00::/127",
    "fd00::/128",
    "fd00::/064",
    "fd00::/64/64",
    "10.0.0.0/24",
    "fd00::%1/64",
  ])("refuses %j", (cidr) => {
    expect(() => Subnet6.parse(cidr)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("refuses host bits and names the network", () => {
    expect(() => Subnet6.parse("fd00::1/64")).toThrow(/host bits are set; the network is "fd00::\/64"/);
  });

  it.each([
    "::/64",
    "::/120",
    "::ffff:10.0.0.0/120",
    "64:ff9b::/96",
    "100::/64",
    "5f00::/64",
    "fe80::/64",
    "fec0::/64",
    "ff02::/64",
    "4000::/64",
  ])("knows that no host can have an address in %s", (cidr) => {
    expect(Subnet6.parse(cidr).isUsable).toBe(false);
  });

  it("leaves out the routers' anycast address, and nothing else", () => {
    const subnet = Subnet6.parse("fd00::10/124");
    expect(["fd00::10", "fd00::11", "fd00::1f", "fd00::20", "fd00::f"].map((text) => subnet.contains(text))).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
    expect(subnet.contains("FD00:0::001f")).toBe(true);
    expect(subnet.contains("10.0.0.1")).toBe(false);
    expect(Subnet.parse("10.0.0.0/24").contains("fd00::11")).toBe(false);
  });

  it("overlaps what shares an address with it", () => {
    const subnet = Subnet6.parse("fd00::/64");
    expect(subnet.overlaps(Subnet6.parse("fd00::/48"))).toBe(true);
    expect(subnet.overlaps(Subnet6.parse("fd00:0:0:1::/64"))).toBe(false);
    expect(subnet.overlaps(Subnet.parse("10.0.0.0/8"))).toBe(false);
  });
});
