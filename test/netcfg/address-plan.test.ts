import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { AddressRequest } from "../../lib/netcfg/address-plan.ts";
import { HostnamePattern, LeaseBook, planAddresses, Subnet } from "../../lib/netcfg/index.ts";

function request(hostname: string, subnet: string, addresses?: readonly string[]): AddressRequest {
  return { hostname: HostnamePattern.parse(hostname), subnet: Subnet.parse(subnet), addresses };
}

const refused = (code: string, details?: object) =>
  expect.objectContaining({ code, ...(details === undefined ? {} : { details: expect.objectContaining(details) }) });

describe("planAddresses", () => {
  it("takes the lowest free names and addresses", () => {
    const leases = new LeaseBook();
    leases.lease("x", { hostname: "n-1", address: "10.0.0.2", mac: "02:00:00:00:00:01" });
    const plan = planAddresses(3, request("n-{index}", "10.0.0.0/29"), leases);
    expect(plan.map(({ hostname }) => hostname)).toEqual(["n-0", "n-2", "n-3"]);
    expect(plan.map(({ address }) => address)).toEqual(["10.0.0.1", "10.0.0.3", "10.0.0.4"]);
    expect(leases.size).toBe(3); // planning leases nothing
  });

  it("gives addresses that were asked for in their order", () => {
    const addresses = ["10.0.0.6", "10.0.0.1"];
    const plan = planAddresses(2, request("n-{index}", "10.0.0.0/29", addresses), new LeaseBook());
    expect(plan.map(({ address }) => address)).toEqual(addresses);
  });

  it("says what is in the way", () => {
    const leases = new LeaseBook();
    leases.lease("x", { hostname: "solo", address: "10.0.0.2", mac: "02:00:00:00:00:01" });
    const plan =
      (count: number, ...parts: Parameters<typeof request>) =>
      () =>
        planAddresses(count, request(...parts), leases);
    expect(plan(2, "other", "10.0.0.0/24")).toThrow(refused("LEASE_CONFLICT", { kind: "hostname" }));
    expect(plan(1, "solo", "10.0.0.0/24")).toThrow(refused("LEASE_CONFLICT", { kind: "hostname", value: "solo" }));
    expect(plan(1, "a", "10.0.0.0/24", ["10.0.0.2"])).toThrow(refused("LEASE_CONFLICT", { kind: "address" }));
    expect(plan(1, "a", "10.0.0.0/24", ["10.0.1.2"])).toThrow(refused("ADDRESS_OUTSIDE_SUBNET"));
    expect(plan(1, "a", "10.0.0.0/24", ["10.0.0.0"])).toThrow(refused("ADDRESS_OUTSIDE_SUBNET"));
    expect(plan(1, "a", "10.0.0.0/24", ["10.0.0.255"])).toThrow(refused("ADDRESS_OUTSIDE_SUBNET"));
    expect(plan(2, "a{index}", "10.0.0.0/24", ["10.0.0.9"])).toThrow(refused("INVALID_ARGUMENT"));
    expect(plan(2, "a{index}", "10.0.0.0/30")).toThrow(refused("LEASE_EXHAUSTED", { free: 1, needed: 2 }));
  });

  it("never takes what another has, leaves none that fits, and can be leased whole", () => {
    const step = fc.record({ count: fc.integer({ min: 1, max: 8 }), free: fc.boolean(), victim: fc.nat(20) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const leases = new LeaseBook();
        const held = new Map<string, { hostname: string; address: string; mac: string }>();
        let next = 0;
        for (const { count, free, victim } of steps) {
          const room = 14 - held.size;
          const plan = () => planAddresses(count, request("n-{index}", "10.0.0.0/28"), leases);
          if (count > room) {
            expect(plan).toThrow(refused("LEASE_EXHAUSTED", { free: room, needed: count }));
          } else {
            for (const values of plan()) {
              leases.lease(`vm${next}`, values);
              held.set(`vm${next++}`, values);
            }
          }
          const owner = [...held.keys()][victim];
          if (free && owner !== undefined) {
            leases.release(owner);
            held.delete(owner);
          }
          for (const kind of ["hostname", "address", "mac"] as const) {
            expect(new Set([...held.values()].map((values) => values[kind])).size).toBe(held.size);
          }
          expect(leases.size).toBe(held.size * 3);
        }
      }),
      { numRuns: 100 },
    );
  });
});
