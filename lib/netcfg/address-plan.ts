import { VmSubstrateError } from "../core/index.ts";
import { HostnamePattern, isHostname } from "./hostname.ts";
import { canonicalAddress } from "./ip-address.ts";
import { leaseConflict, leaseExhausted, type Refusal, type Shortage } from "./lease-errors.ts";
import type { LeasedValues, LeaseKind } from "./lease-record.ts";
import type { Numbered } from "./lowest-free.ts";
import { isUnicastMac, randomMac } from "./mac.ts";
import type { Network } from "./network.ts";

/** Which values VMs shall have. Lists have one value for each VM, in order; what is left out is chosen. */
export interface AddressRequest {
  readonly hostname: HostnamePattern | readonly string[];
  readonly network: Network;
  readonly addresses?: readonly string[] | undefined;
  /** Only in a network with an IPv6 subnet. */
  readonly addresses6?: readonly string[] | undefined;
  readonly macs?: readonly string[] | undefined;
}

/** What is free, as a plan sees it. */
export interface FreeValues {
  /** Why a value cannot be had, undefined when it can. */
  refusal(kind: LeaseKind, value: string): Refusal | undefined;
  /** Up to `count` values, lowest first. */
  lowest(kind: LeaseKind, space: Numbered, count: number): string[];
  shortage(kind: LeaseKind, space: Numbered, needed: number, free: number): Shortage;
}

/**
 * Chooses the values of `count` VMs. Pure but for the MACs' randomness: nothing is leased.
 *
 * @throws VmSubstrateError LEASE_CONFLICT, LEASE_EXHAUSTED, ADDRESS_OUTSIDE_SUBNET, INVALID_ARGUMENT
 */
export function planAddresses(count: number, request: AddressRequest, free: FreeValues): LeasedValues[] {
  const { network } = request;
  const hostnames = planHostnames(count, request.hostname, free);
  const macs = request.macs ? givenMacs(count, request.macs, free) : randomMacs(count, free);
  const addresses = request.addresses
    ? givenAddresses(count, "addresses", request.addresses, network, free)
    : freeAddresses(count, network.hosts, network, free);
  const addresses6 = request.addresses6
    ? givenAddresses(count, "addresses6", request.addresses6, network, free)
    : network.hosts6 && freeAddresses(count, network.hosts6, network, free);
  return hostnames.map((hostname, i) => ({
    hostname,
    mac: macs[i] as string,
    address: addresses[i] as string,
    address6: addresses6?.[i],
  }));
}

function planHostnames(
  count: number,
  hostname: HostnamePattern | readonly string[],
  free: FreeValues,
): readonly string[] {
  if (!(hostname instanceof HostnamePattern)) {
    const bad = hostname.find((name) => !isHostname(name));
    if (bad !== undefined) throw invalid(`hostname ${JSON.stringify(bad)}: expected one DNS label in lower case`);
    return given("hostname", "hostname", count, hostname, free);
  }
  if (hostname.isIndexed) {
    const remedy = "choose another pattern";
    return lowest("hostname", hostname, count, free, `hostname pattern "${hostname.pattern}"`, remedy);
  }
  if (count > 1) {
    throw leaseConflict("hostname", hostname.pattern, { why: `cannot name ${count} VMs: it has no {index}` });
  }
  return given("hostname", "hostname", count, [hostname.pattern], free);
}

function givenMacs(count: number, macs: readonly string[], free: FreeValues): readonly string[] {
  const bad = macs.find((mac) => !isUnicastMac(mac));
  if (bad !== undefined) {
    throw invalid(`MAC ${JSON.stringify(bad)}: expected a unicast address in lower case, e.g. "02:00:00:00:00:01"`);
  }
  return given("mac", "macs", count, macs, free);
}

function randomMacs(count: number, free: FreeValues): string[] {
  const macs = new Set<string>();
  while (macs.size < count) {
    const mac = randomMac();
    if (free.refusal("mac", mac) === undefined) macs.add(mac);
  }
  return [...macs];
}

function freeAddresses(count: number, space: Numbered, network: Network, free: FreeValues): string[] {
  const subnet = space === network.hosts ? network.subnet : network.subnet6;
  const remedy = "choose a larger subnet";
  return lowest("address", space, count, free, `subnet ${subnet?.cidr}`, remedy);
}

function givenAddresses(
  count: number,
  option: "addresses" | "addresses6",
  texts: readonly string[],
  network: Network,
  free: FreeValues,
): readonly string[] {
  const subnet = option === "addresses" ? network.subnet : network.subnet6;
  if (subnet === undefined) throw invalid("network.addresses6 needs an IPv6 subnet: give network.subnet6");
  const addresses = texts.map((text) => canonicalAddress(text) ?? text);
  for (const address of addresses) {
    if (!subnet.contains(address)) {
      const message = `address "${address}" is not a host address of subnet ${subnet.cidr}`;
      throw new VmSubstrateError("ADDRESS_OUTSIDE_SUBNET", message, { details: { address, subnet: subnet.cidr } });
    }
    const reserved = network.reservationOf(address);
    if (reserved !== undefined) throw leaseConflict("address", address, { why: `is reserved (${reserved.text})` });
  }
  return given("address", option, count, addresses, free);
}

/** Values that were asked for by name, when all of them can be had. */
function given(
  kind: LeaseKind,
  option: string,
  count: number,
  values: readonly string[],
  free: FreeValues,
): readonly string[] {
  if (values.length !== count) {
    const message = `${option} has ${values.length} entries for ${count} VMs; give one for each`;
    throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { [option]: values.length, count } });
  }
  const seen = new Set<string>();
  for (const value of values) {
    const refusal = seen.has(value) ? { why: "is asked for twice" } : free.refusal(kind, value);
    if (refusal !== undefined) throw leaseConflict(kind, value, refusal);
    seen.add(value);
  }
  return values;
}

function lowest(
  kind: LeaseKind,
  space: Numbered,
  count: number,
  free: FreeValues,
  of: string,
  remedy: string,
): string[] {
  const found = free.lowest(kind, space, count);
  if (found.length === count) return found;
  throw leaseExhausted(kind, of, free.shortage(kind, space, count, found.length), `release VMs, or ${remedy}`);
}

function invalid(message: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", message);
}
