import { IpSubnet, parseSubnet } from "./ip-subnet.ts";

/** An IPv6 subnet. */
export class Subnet6 extends IpSubnet {
  /**
   * @param cidr the network's own address in any form, and a prefix length of 48 to 126, e.g. "fd77::/64"
   * @throws VmSubstrateError INVALID_ARGUMENT
   */
  static parse(cidr: string): Subnet6 {
    return new Subnet6(parseSubnet(cidr, { family: 6, min: 48, max: 126, example: "fd77::/64" }));
  }

  /**
   * True for unique local addresses (fc00::/7, RFC 4193) and global unicast (2000::/3, RFC 4291 2.4): nothing else is for
   * hosts to have by configuration. Documentation prefixes (2001:db8::/32, RFC 3849) are global unicast to every guest, and
   * these networks lead nowhere, so that examples can be run as they are written.
   */
  get isUsable(): boolean {
    return this.first >> 121n === 0xfcn >> 1n || this.first >> 125n === 1n;
  }

  /** All but interface identifier 0, which is the subnet's routers (anycast, RFC 4291 2.6.1). There is no broadcast. */
  get firstHost(): bigint {
    return this.first + 1n;
  }

  get lastHost(): bigint {
    return this.last;
  }
}
