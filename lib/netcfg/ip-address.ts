import { isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";

export type IpFamily = 4 | 6;

/** An address as a number, so that ranges can be counted and compared. */
export interface IpAddress {
  readonly family: IpFamily;
  readonly bits: bigint;
}

/**
 * Whether `text` is an IPv4 address in its one canonical form: a dotted quad without leading zeros, which some read as octal,
 * and no short form such as "10.1".
 */
export function isAddress(text: string): boolean {
  return isIPv4(text);
}

/** Whether `text` is an IPv6 address in any form of RFC 4291, 2.2, without a zone: a zone has no meaning elsewhere. */
export function isAddress6(text: string): boolean {
  return isIPv6(text) && !text.includes("%");
}

export function parseAddress(text: string): IpAddress | undefined {
  if (isAddress(text)) return { family: 4, bits: BigInt(toNumber(text)) };
  if (isAddress6(text)) return { family: 6, bits: toBits(ipaddr.IPv6.parse(text).parts) };
  return undefined;
}

/** The canonical text: RFC 5952 for IPv6, so that one address is always one key. */
export function formatAddress({ family, bits }: IpAddress): string {
  return family === 4 ? toQuad(Number(bits)) : new ipaddr.IPv6(toParts(bits)).toRFC5952String();
}

export function canonicalAddress(text: string): string | undefined {
  if (isAddress(text)) return text;
  return isAddress6(text) ? ipaddr.IPv6.parse(text).toRFC5952String() : undefined;
}

export function widthOf(family: IpFamily): number {
  return family === 4 ? 32 : 128;
}

function toNumber(quad: string): number {
  return quad.split(".").reduce((number, octet) => number * 256 + Number(octet), 0);
}

function toQuad(number: number): string {
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff).join(".");
}

function toBits(parts: readonly number[]): bigint {
  return parts.reduce((bits, part) => (bits << 16n) | BigInt(part), 0n);
}

function toParts(bits: bigint): number[] {
  return [112n, 96n, 80n, 64n, 48n, 32n, 16n, 0n].map((shift) => Number((bits >> shift) & 0xffffn));
}
