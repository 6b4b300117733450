import { randomBytes } from "node:crypto";

/**
 * A random unicast, locally administered MAC address: 02 and 40 random bits. Vendors' and other hypervisors' addresses
 * (52:54:00 of QEMU) are never hit. Source: IEEE 802-2014, 8.4.
 */
export function randomMac(): string {
  return ["02", ...Array.from(randomBytes(5), (byte) => byte.toString(16).padStart(2, "0"))].join(":");
}
