import type { AddressRange } from "./address-range.ts";
import { formatAddress, type IpFamily, parseAddress } from "./ip-address.ts";
import type { IpSubnet } from "./ip-subnet.ts";
import type { Numbered } from "./lowest-free.ts";

/** Addresses in a row, and the number that the first of them has. */
interface Run {
  readonly first: bigint;
  readonly last: bigint;
  readonly number: bigint;
}

/**
 * The addresses of a subnet that may be chosen automatically, numbered from 0: its hosts without what is reserved. Nothing
 * is enumerated, so that a /64 costs no more than a /24, also with most of it reserved.
 */
export class HostSpace implements Numbered {
  readonly name: string;
  readonly capacity: number;
  readonly #family: IpFamily;
  readonly #runs: readonly Run[];

  constructor(subnet: IpSubnet, reserved: readonly AddressRange[]) {
    const within = reserved.filter(({ family }) => family === subnet.family);
    this.name = [subnet.cidr, ...within.map(({ first, last }) => `${first}-${last}`)].join(" ");
    this.#family = subnet.family;
    this.#runs = runsBetween(subnet, within);
    this.capacity = Number(this.#runs.reduce((sum, { first, last }) => sum + last - first + 1n, 0n));
  }

  at(number: number): string {
    const wanted = BigInt(number);
    const run = this.#runs.findLast((one) => one.number <= wanted);
    if (run === undefined) throw new RangeError(`no address has the number ${number}`);
    return formatAddress({ family: this.#family, bits: run.first + wanted - run.number });
  }

  numberOf(address: string): number | undefined {
    const parsed = parseAddress(address);
    if (parsed?.family !== this.#family) return undefined;
    const { bits } = parsed;
    const run = this.#runs.find(({ first, last }) => bits >= first && bits <= last);
    return run === undefined ? undefined : Number(run.number + bits - run.first);
  }
}

function runsBetween(subnet: IpSubnet, reserved: readonly AddressRange[]): Run[] {
  const runs: Run[] = [];
  let next = subnet.firstHost;
  let number = 0n;
  const addUpTo = (end: bigint) => {
    if (end <= next) return;
    runs.push({ first: next, last: end - 1n, number });
    number += end - next;
  };
  for (const { first, last } of reserved.toSorted((a, b) => (a.first < b.first ? -1 : 1))) {
    addUpTo(first);
    if (last >= next) next = last + 1n;
  }
  addUpTo(subnet.lastHost + 1n);
  return runs;
}
