import { VmSubstrateError } from "../core/index.ts";
import type { HostnamePattern } from "./hostname.ts";
import { type LeaseBook, type LeasedValues, leaseConflict } from "./leases.ts";
import { randomMac } from "./mac.ts";
import type { Subnet } from "./subnet.ts";

export interface AddressRequest {
  readonly hostname: HostnamePattern;
  readonly subnet: Subnet;
  /** One per VM, in order; without them the lowest free addresses are taken. */
  readonly addresses?: readonly string[] | undefined;
}

/**
 * Chooses hostname, address and MAC for `count` VMs from what is free in `leases`. Pure but for the MACs' randomness:
 * nothing is leased.
 *
 * @throws VmSubstrateError LEASE_CONFLICT, LEASE_EXHAUSTED, ADDRESS_OUTSIDE_SUBNET, INVALID_ARGUMENT
 */
export function planAddresses(
  count: number,
  request: AddressRequest,
  leases: Pick<LeaseBook, "isFree">,
): LeasedValues[] {
  const hostnames = planHostnames(count, request.hostname, leases);
  const addresses =
    request.addresses === undefined
      ? freeAddresses(count, request.subnet, leases)
      : givenAddresses(count, request.addresses, request.subnet, leases);
  const macs = new Set<string>();
  while (macs.size < count) {
    const mac = randomMac();
    if (leases.isFree("mac", mac)) macs.add(mac);
  }
  return [...macs].map((mac, i) => ({ hostname: at(hostnames, i), address: at(addresses, i), mac }));
}

function planHostnames(count: number, pattern: HostnamePattern, leases: Pick<LeaseBook, "isFree">): string[] {
  if (!pattern.isIndexed) {
    if (count > 1) throw leaseConflict("hostname", pattern.pattern, `cannot name ${count} VMs: it has no {index}`);
    if (!leases.isFree("hostname", pattern.pattern)) throw leaseConflict("hostname", pattern.pattern, "is in use");
    return [pattern.pattern];
  }
  const names: string[] = [];
  for (let index = 0; names.length < count; index++) {
    const name = pattern.at(index);
    if (leases.isFree("hostname", name)) names.push(name);
  }
  return names;
}

function freeAddresses(count: number, subnet: Subnet, leases: Pick<LeaseBook, "isFree">): string[] {
  const found: string[] = [];
  for (const address of subnet.hosts()) {
    if (found.length === count) break;
    if (leases.isFree("address", address)) found.push(address);
  }
  if (found.length === count) return found;
  throw new VmSubstrateError(
    "LEASE_EXHAUSTED",
    `subnet ${subnet.cidr} has ${found.length} free of ${subnet.capacity} host addresses, ${count} are needed; choose a larger subnet`,
    { details: { subnet: subnet.cidr, free: found.length, needed: count } },
  );
}

function givenAddresses(
  count: number,
  addresses: readonly string[],
  subnet: Subnet,
  leases: Pick<LeaseBook, "isFree">,
): string[] {
  if (addresses.length !== count) {
    const message = `network.addresses has ${addresses.length} entries for ${count} VMs; give one for each`;
    throw new VmSubstrateError("INVALID_ARGUMENT", message, { details: { addresses: addresses.length, count } });
  }
  const seen = new Set<string>();
  for (const address of addresses) {
    if (!subnet.contains(address)) {
      const message = `address "${address}" is not a host address of subnet ${subnet.cidr}`;
      throw new VmSubstrateError("ADDRESS_OUTSIDE_SUBNET", message, { details: { address, subnet: subnet.cidr } });
    }
    if (seen.has(address)) throw leaseConflict("address", address, "is asked for twice");
    if (!leases.isFree("address", address)) throw leaseConflict("address", address, "is in use");
    seen.add(address);
  }
  return [...addresses];
}

function at(values: readonly string[], index: number): string {
  return values[index] as string;
}
