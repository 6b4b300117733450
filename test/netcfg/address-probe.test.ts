import { expect, it } from "vitest";
import { newMcast } from "../../lib/netcfg/fabric.ts";
import { AddressProbe, type Fabric } from "../../lib/netcfg/index.ts";
import { foreignHost } from "../support/foreign-host.ts";

const FOREIGN = "52:54:00:00:00:01";
const OURS = { mac: "02:00:00:00:00:07", address: "10.77.0.9" };
const OTHER = { mac: "02:00:00:00:00:08", address: "10.77.0.10" };

it("finds a host that has the address of one of several VMs", async () => {
  const fabric = newMcast();
  using _ = await foreignHost(fabric, FOREIGN, [OURS.address]);
  using probe = await AddressProbe.open(fabric, [OURS, OTHER]);
  const found = () => probe.requireUnused(OURS.address).catch((error: unknown) => error);
  await expect.poll(found).toMatchObject({ code: "ADDRESS_IN_USE", details: { address: OURS.address, mac: FOREIGN } });
  await probe.requireUnused(OTHER.address);
});

it("does not take the VM itself for another host", async () => {
  const fabric = newMcast();
  using _ = await foreignHost(fabric, OURS.mac, [OURS.address]);
  using probe = await AddressProbe.open(fabric, [OURS]);
  await probe.requireUnused(OURS.address);
});

it("tells the neighbours who has the address now", async () => {
  const fabric = newMcast();
  using neighbour = await foreignHost(fabric, FOREIGN, []);
  using probe = await AddressProbe.open(fabric, [OURS]);
  probe.announce(OURS);
  await expect.poll(() => neighbour.heard).toEqual([`${OURS.address} is ${OURS.mac}`]);
});

it.each<[string, Fabric, (typeof OURS)[]]>([
  ["without a network", { kind: "none" }, [OURS]],
  ["without VMs", newMcast(), []],
])("%s knows of nobody", async (_, fabric, planned) => {
  using probe = await AddressProbe.open(fabric, planned);
  await probe.requireUnused(OURS.address);
  probe.announce(OURS);
});
