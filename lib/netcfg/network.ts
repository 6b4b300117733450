import { VmSubstrateError } from "../core/index.ts";
import { type AddressRange, inRange, parseRange } from "./address-range.ts";
import { HostSpace } from "./host-space.ts";
import { parseAddress } from "./ip-address.ts";
import type { IpSubnet } from "./ip-subnet.ts";
import { Subnet } from "./subnet.ts";
import { Subnet6 } from "./subnet6.ts";

/** Each is looked at for each address that is chosen. */
const MAX_RESERVED_RANGES = 256;

export interface NetworkSpec {
  /** IPv4, e.g. "10.77.0.0/24". */
  readonly subnet: string;
  /** IPv6, e.g. "fd77::/64"; without it VMs get no IPv6 address but that of the link. */
  readonly subnet6?: string | undefined;
  /** Addresses that no VM gets: "10.77.0.1-10.77.0.9", "10.77.0.128/25", "10.77.0.5"; also of IPv6. */
  readonly reserved?: readonly string[] | undefined;
}

/** Where VMs get their addresses. Immutable. */
export class Network {
  readonly subnet: Subnet;
  readonly subnet6: Subnet6 | undefined;
  readonly reserved: readonly AddressRange[];
  /** What may be chosen automatically of either subnet. */
  readonly hosts: HostSpace;
  readonly hosts6: HostSpace | undefined;

  private constructor(subnet: Subnet, subnet6: Subnet6 | undefined, reserved: readonly AddressRange[]) {
    this.subnet = subnet;
    this.subnet6 = subnet6;
    this.reserved = reserved;
    this.hosts = new HostSpace(subnet, reserved);
    this.hosts6 = subnet6 === undefined ? undefined : new HostSpace(subnet6, reserved);
  }

  /** @throws VmSubstrateError INVALID_ARGUMENT for what is malformed, unusable, or reserved outside of the subnets */
  static parse(spec: NetworkSpec): Network {
    const subnet = requireUsable(Subnet.parse(spec.subnet));
    const subnet6 = spec.subnet6 === undefined ? undefined : requireUsable(Subnet6.parse(spec.subnet6));
    const { reserved = [] } = spec;
    if (reserved.length > MAX_RESERVED_RANGES) {
      throw invalid(`${reserved.length} reserved ranges, at most ${MAX_RESERVED_RANGES} are kept; join some of them`);
    }
    return new Network(
      subnet,
      subnet6,
      reserved.map((text) => within([subnet, subnet6], parseRange(text))),
    );
  }

  /** The reserved range that holds an address, undefined when none does. */
  reservationOf(address: string): AddressRange | undefined {
    const parsed = parseAddress(address);
    return parsed && this.reserved.find((range) => inRange(range, parsed));
  }
}

function within(subnets: readonly (IpSubnet | undefined)[], range: AddressRange): AddressRange {
  const subnet = subnets.find((one) => one?.family === range.family);
  if (subnet !== undefined && range.first >= subnet.first && range.last <= subnet.last) return range;
  const where =
    subnet === undefined ? `the network has no IPv${range.family} subnet` : `it is not within ${subnet.cidr}`;
  throw invalid(`reserved range "${range.text}": ${where}`);
}

function requireUsable<Kind extends IpSubnet>(subnet: Kind): Kind {
  if (subnet.isUsable) return subnet;
  throw invalid(`subnet "${subnet.cidr}": no host can have an address in this network`);
}

function invalid(message: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", message);
}
