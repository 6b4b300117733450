import ipaddr from "ipaddr.js";
import { VmSubstrateError } from "../core/index.ts";

/** A dotted quad and nothing else: no leading zeros (read as octal by some), no short forms such as "10.1". */
const DOTTED_QUAD = /^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/;

/** An IPv4 subnet and its host addresses. Immutable. */
export class Subnet {
  readonly cidr: string;
  readonly prefixLength: number;
  readonly #network: number;
  readonly #broadcast: number;

  private constructor(network: number, prefixLength: number) {
    this.#network = network;
    this.prefixLength = prefixLength;
    this.#broadcast = (network | (0xffffffff >>> prefixLength)) >>> 0;
    this.cidr = `${toText(network)}/${prefixLength}`;
  }

  /**
   * @param cidr the network's own address and a prefix length of 8 to 30, e.g. "10.77.0.0/24"
   * @throws VmSubstrateError INVALID_ARGUMENT
   */
  static parse(cidr: string): Subnet {
    const [address = "", prefix = "", ...rest] = cidr.split("/");
    const length = Number(prefix);
    const valid = rest.length === 0 && isAddress(address) && /^\d{1,2}$/.test(prefix) && length >= 8 && length <= 30;
    if (!valid) throw invalid(cidr, 'expected an IPv4 network such as "10.77.0.0/24", with a prefix length of 8 to 30');
    const bits = toBits(address);
    const subnet = new Subnet((bits & (0xffffffff << (32 - length))) >>> 0, length);
    if (subnet.#network !== bits) throw invalid(cidr, `host bits are set; the network is "${subnet.cidr}"`);
    return subnet;
  }

  /** False for "this network", loopback, multicast and reserved space, where no host can have an address (RFC 6890). */
  get isUsable(): boolean {
    const first = this.#network >>> 24;
    return first !== 0 && first !== 127 && first < 224;
  }

  /** How many hosts fit: all but the network's and the broadcast address. */
  get capacity(): number {
    return this.#broadcast - this.#network - 1;
  }

  /** Host addresses in order. */
  *hosts(): Generator<string> {
    for (let bits = this.#network + 1; bits < this.#broadcast; bits++) yield toText(bits);
  }

  /** Whether `address` is one of `hosts()`. */
  contains(address: string): boolean {
    if (!isAddress(address)) return false;
    const bits = toBits(address);
    return bits > this.#network && bits < this.#broadcast;
  }

  overlaps(other: Subnet): boolean {
    return this.#network <= other.#broadcast && other.#network <= this.#broadcast;
  }
}

/** Whether `text` is an IPv4 address in its one canonical form. */
export function isAddress(text: string): boolean {
  return DOTTED_QUAD.test(text) && ipaddr.IPv4.isValid(text);
}

function toBits(address: string): number {
  return ipaddr.IPv4.parse(address).octets.reduce((bits, octet) => bits * 256 + octet, 0);
}

function toText(bits: number): string {
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 0xff).join(".");
}

function invalid(cidr: string, problem: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", `subnet "${cidr}": ${problem}`, { details: { subnet: cidr } });
}
