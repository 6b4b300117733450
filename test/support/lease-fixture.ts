import { expect } from "vitest";
import {
  type AddressRequest,
  type Change,
  commit,
  HostnamePattern,
  LeaseBook,
  type LeasedValues,
  Network,
} from "../../lib/netcfg/index.ts";
import { MemoryStore } from "./memory-store.ts";

export const QUARANTINE_MS = 1000;
export const NETWORK = Network.parse({ subnet: "10.0.0.0/29", subnet6: "fd00::/64" });
export const AUTOMATIC: AddressRequest = { hostname: HostnamePattern.parse("n-{index}"), network: NETWORK };
export const VALUES: LeasedValues = {
  hostname: "n-0",
  mac: "02:00:00:00:00:01",
  address: "10.0.0.1",
  address6: "fd00::1",
};
export const EXACT: AddressRequest = {
  network: NETWORK,
  hostname: [VALUES.hostname],
  macs: [VALUES.mac],
  addresses: [VALUES.address],
  addresses6: ["fd00::1"],
};

/** A lease book, its store and its clock. */
export class LeaseFixture {
  readonly store = new MemoryStore();
  nowMs = 0;

  open(): Promise<LeaseBook> {
    return LeaseBook.open(this.store, { quarantineMs: QUARANTINE_MS, now: () => this.nowMs });
  }

  async commit(...changes: Change[]): Promise<void> {
    expect(await commit(this.store, changes)).toBe(true);
  }

  get keys(): string[] {
    return [...this.store.contents.keys()].toSorted();
  }
}
