import { VmSubstrateError } from "../core/index.ts";
import { type IpAddress, type IpFamily, parseAddress, widthOf } from "./ip-address.ts";

/** Addresses from `first` to `last`, both included. */
export interface AddressRange {
  readonly family: IpFamily;
  readonly first: bigint;
  readonly last: bigint;
  /** As it was written. */
  readonly text: string;
}

/**
 * @param text one address, "first-last", or a network: "10.77.0.5", "10.77.0.1-10.77.0.9", "10.77.0.128/25"; also of IPv6
 * @throws VmSubstrateError INVALID_ARGUMENT
 */
export function parseRange(text: string): AddressRange {
  const range = text.includes("/") ? network(text) : fromTo(text);
  if (range !== undefined) return { ...range, text };
  const message = `range "${text}": expected an address, "first-last" or a network without host bits, e.g. "10.77.0.1-10.77.0.9"`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { range: text } });
}

export function inRange(range: AddressRange, address: IpAddress): boolean {
  return address.family === range.family && address.bits >= range.first && address.bits <= range.last;
}

type Bounds = Omit<AddressRange, "text">;

function fromTo(text: string): Bounds | undefined {
  const [from = "", to = from, ...rest] = text.split("-");
  const first = parseAddress(from);
  const last = parseAddress(to);
  if (first === undefined || last === undefined || rest.length > 0) return undefined;
  if (first.family !== last.family || first.bits > last.bits) return undefined;
  return { family: first.family, first: first.bits, last: last.bits };
}

function network(text: string): Bounds | undefined {
  const parsed = parseNetwork(text);
  if (parsed === undefined) return undefined;
  return parsed.hostBits === 0n ? { family: parsed.family, first: parsed.first, last: parsed.last } : undefined;
}

export interface ParsedNetwork extends Bounds {
  readonly prefixLength: number;
  /** What of the written address lies beyond the prefix; 0 in a network's own address. */
  readonly hostBits: bigint;
}

/** Reads "address/length", undefined when it is malformed. */
export function parseNetwork(text: string): ParsedNetwork | undefined {
  const [address = "", prefix = "", ...rest] = text.split("/");
  const parsed = parseAddress(address);
  if (parsed === undefined || rest.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(prefix)) return undefined;
  const prefixLength = Number(prefix);
  const width = widthOf(parsed.family);
  if (prefixLength > width) return undefined;
  const hostMask = (1n << BigInt(width - prefixLength)) - 1n;
  const hostBits = parsed.bits & hostMask;
  const first = parsed.bits - hostBits;
  return { family: parsed.family, first, last: first | hostMask, prefixLength, hostBits };
}
