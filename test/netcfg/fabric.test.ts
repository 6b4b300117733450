import { expect, it } from "vitest";
import { Fabrics, Subnet } from "../../lib/netcfg/index.ts";

it("VMs of one subnet meet on one multicast group of the organization-local scope", () => {
  const fabrics = new Fabrics();
  const first = fabrics.of("mcast", Subnet.parse("10.0.0.0/24"));
  expect(fabrics.of("mcast", Subnet.parse("10.0.0.0/24"))).toBe(first);
  expect(fabrics.of("mcast", Subnet.parse("10.0.1.0/24"))).not.toEqual(first);
  expect(new Fabrics().of("mcast", Subnet.parse("10.0.0.0/24"))).not.toEqual(first);
  expect(first).toMatchObject({ group: expect.stringMatching(/^239\.19[2-5]\.\d+\.\d+$/) });
  expect(fabrics.of("none", Subnet.parse("10.0.0.0/24"))).toEqual({ kind: "none" });
});
