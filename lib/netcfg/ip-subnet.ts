import { VmSubstrateError } from "../core/index.ts";
import { type ParsedNetwork, parseNetwork } from "./address-range.ts";
import { formatAddress, type IpFamily, parseAddress } from "./ip-address.ts";

/** What a subnet of either family is: its addresses, and those of them that a host may have. Immutable. */
export abstract class IpSubnet {
  readonly family: IpFamily;
  readonly prefixLength: number;
  /** Canonical: the network's own address and the prefix length. */
  readonly cidr: string;
  readonly first: bigint;
  readonly last: bigint;

  protected constructor({ family, prefixLength, first, last }: ParsedNetwork) {
    this.family = family;
    this.prefixLength = prefixLength;
    this.first = first;
    this.last = last;
    this.cidr = `${formatAddress({ family, bits: first })}/${prefixLength}`;
  }

  /** Whether hosts can have addresses there at all. */
  abstract get isUsable(): boolean;
  abstract get firstHost(): bigint;
  abstract get lastHost(): bigint;

  /** How many hosts fit; not exact beyond 2^53. */
  get capacity(): number {
    return Number(this.lastHost - this.firstHost + 1n);
  }

  /** Whether `address` is one that a host may have. */
  contains(address: string): boolean {
    const parsed = parseAddress(address);
    if (parsed === undefined || parsed.family !== this.family) return false;
    return parsed.bits >= this.firstHost && parsed.bits <= this.lastHost;
  }

  overlaps(other: IpSubnet): boolean {
    return this.family === other.family && this.first <= other.last && other.first <= this.last;
  }
}

/** @throws VmSubstrateError INVALID_ARGUMENT, naming the network when host bits are set */
export function parseSubnet(
  cidr: string,
  expected: { readonly family: IpFamily; readonly min: number; readonly max: number; readonly example: string },
): ParsedNetwork {
  const { family, min, max, example } = expected;
  const parsed = parseNetwork(cidr);
  if (parsed === undefined || parsed.family !== family || parsed.prefixLength < min || parsed.prefixLength > max) {
    throw invalid(
      cidr,
      `expected an IPv${family} network such as "${example}", with a prefix length of ${min} to ${max}`,
    );
  }
  if (parsed.hostBits === 0n) return parsed;
  const network = `${formatAddress({ family, bits: parsed.first })}/${parsed.prefixLength}`;
  throw invalid(cidr, `host bits are set; the network is "${network}"`);
}

/** The network in which an address with a prefix length is, e.g. "10.77.0.0/16". */
export function enclosingNetwork(address: string, prefixLength: number): string {
  const parsed = parseNetwork(`${address}/${prefixLength}`);
  if (parsed === undefined) throw invalid(`${address}/${prefixLength}`, "expected an address and a prefix length");
  return `${formatAddress({ family: parsed.family, bits: parsed.first })}/${prefixLength}`;
}

function invalid(cidr: string, problem: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", `subnet "${cidr}": ${problem}`, { details: { subnet: cidr } });
}
