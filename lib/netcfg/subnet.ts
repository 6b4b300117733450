import { IpSubnet, parseSubnet } from "./ip-subnet.ts";

/** An IPv4 subnet. */
export class Subnet extends IpSubnet {
  /**
   * @param cidr the network's own address and a prefix length of 8 to 30, e.g. "10.77.0.0/24"
   * @throws VmSubstrateError INVALID_ARGUMENT
   */
  static parse(cidr: string): Subnet {
    return new Subnet(parseSubnet(cidr, { family: 4, min: 8, max: 30, example: "10.77.0.0/24" }));
  }

  /** False for "this network", loopback, multicast and reserved space, where no host can have an address (RFC 6890). */
  get isUsable(): boolean {
    const firstOctet = Number(this.first >> 24n);
    return firstOctet !== 0 && firstOctet !== 127 && firstOctet < 224;
  }

  /** All but the network's and the broadcast address. */
  get firstHost(): bigint {
    return this.first + 1n;
  }

  get lastHost(): bigint {
    return this.last - 1n;
  }
}
