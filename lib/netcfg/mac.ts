import { randomBytes } from "node:crypto";
import { formatAddress } from "./ip-address.ts";

const CANONICAL = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
const ALL_ZERO = "00:00:00:00:00:00";

/**
 * A random unicast, locally administered MAC address: 02 and 40 random bits. Vendors' and other hypervisors' addresses
 * (52:54:00 of QEMU) are never hit. Source: IEEE 802-2014, 8.4.
 */
export function randomMac(): string {
  return ["02", ...Array.from(randomBytes(5), (byte) => byte.toString(16).padStart(2, "0"))].join(":");
}

/**
 * Whether `text` is a MAC address that a NIC can have, in lower case: not of a group (lowest bit of the first octet), which
 * a kernel refuses, as it does all zeros.
 */
export function isUnicastMac(text: string): boolean {
  return CANONICAL.test(text) && text !== ALL_ZERO && (Number.parseInt(text.slice(0, 2), 16) & 1) === 0;
}

/**
 * The link-local IPv6 address that belongs to a MAC address: fe80::/64 and the modified EUI-64, which is the MAC with
 * ff:fe in its middle and the universal/local bit turned over. Source: RFC 4291, appendix A; RFC 2464, 5.
 */
export function linkLocalOf(mac: string): string {
  const bits = BigInt(`0x${mac.replaceAll(":", "")}`);
  const identifier = ((bits >> 24n) << 40n) | (0xfffen << 24n) | (bits & 0xffffffn);
  return formatAddress({ family: 6, bits: (0xfe80n << 112n) | (identifier ^ (0x02n << 56n)) });
}
