import { describe, expect, it } from "vitest";
import { type Fabric, Fabrics, type JoinedFabric, Network, type Subnet } from "../../lib/netcfg/index.ts";
import { MemoryStore } from "../support/memory-store.ts";

const network = (subnet: string, subnet6?: string) => Network.parse({ subnet, subnet6 });
const A = network("10.0.0.0/24");
const B = network("10.0.1.0/24");
const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });

async function fabricOf(fabrics: Fabrics, of: Network): Promise<Fabric> {
  using joined = await fabrics.join("mcast", of);
  return joined.fabric;
}

const keys = (store: MemoryStore) => [...store.contents.keys()].filter((key) => key.startsWith("networks/"));

describe("VMs of one network", () => {
  it("meet on one multicast group of the organization-local scope, also those of a reopened pool", async () => {
    const store = new MemoryStore();
    const fabrics = await Fabrics.open(store);
    const first = await fabricOf(fabrics, A);
    expect(first).toMatchObject({ kind: "mcast", group: expect.stringMatching(/^239\.19[2-5]\.\d+\.\d+$/) });
    expect(await fabricOf(fabrics, network("10.0.0.0/24"))).toEqual(first);
    expect(await fabricOf(await Fabrics.open(store), A)).toEqual(first);
    expect(await fabricOf(fabrics, B)).not.toEqual(first);
    expect(await fabricOf(await Fabrics.open(new MemoryStore()), A)).not.toEqual(first);
    expect(keys(store)).toEqual(["networks/10.0.0.0/24", "networks/10.0.1.0/24"]);
  });

  it("meet when they name it for the first time at once, in one process or in several", async () => {
    const store = new MemoryStore();
    const [one, other] = [await Fabrics.open(store), await Fabrics.open(store)];
    const joined = await Promise.all([one, one, other, other, one].map((fabrics) => fabricOf(fabrics, A)));
    expect(new Set(joined.map((fabric) => JSON.stringify(fabric))).size).toBe(1);
    expect(keys(store)).toHaveLength(1);
  });

  it("are on none without a fabric, which is not kept", async () => {
    const store = new MemoryStore();
    using joined = await (await Fabrics.open(store)).join("none", A);
    expect(joined.fabric).toEqual({ kind: "none" });
    expect(store.contents.size).toBe(0);
  });
});

describe("a network", () => {
  it("is refused when it overlaps another in either family", async () => {
    const fabrics = await Fabrics.open(new MemoryStore());
    await fabricOf(fabrics, network("10.0.0.0/24", "fd00::/64"));
    for (const other of [
      network("10.0.0.0/16"),
      network("10.0.0.128/25"),
      network("10.0.1.0/24", "fd00::/64"),
      network("10.0.1.0/24", "fd00::/48"),
      network("10.0.1.0/24", "fd00::/112"),
    ]) {
      await expect(fabricOf(fabrics, other)).rejects.toThrow(invalid);
    }
    await fabricOf(fabrics, network("10.0.1.0/24", "fd00:0:0:1::/64"));
  });

  it("is refused when two processes make two that overlap at the same time", async () => {
    const store = new MemoryStore();
    const [one, other] = [await Fabrics.open(store), await Fabrics.open(store)];
    const results = await Promise.allSettled([fabricOf(one, A), fabricOf(other, network("10.0.0.0/16"))]);
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect(keys(store)).toHaveLength(1);
  });

  it("is refused with another IPv6 subnet than before, also after reopening", async () => {
    const store = new MemoryStore();
    const fabrics = await Fabrics.open(store);
    await fabricOf(fabrics, network("10.0.0.0/24", "fd00::/64"));
    for (const one of [fabrics, await Fabrics.open(store)]) {
      await expect(fabricOf(one, network("10.0.0.0/24", "fd01::/64"))).rejects.toThrow(
        /with the IPv6 subnet fd00::\/64/,
      );
      await expect(fabricOf(one, A)).rejects.toThrow(invalid);
      await fabricOf(one, network("10.0.0.0/24", "FD00:0::/64"));
    }
  });
});

describe("a network that no VM uses", () => {
  const used = new Set<string>();
  const isUsed = ({ cidr }: Subnet) => used.has(cidr);

  it("is forgotten when another is made, unless somebody is about to join it", async () => {
    const store = new MemoryStore();
    const fabrics = await Fabrics.open(store, { isUsed });
    const first = await fabricOf(fabrics, A);
    expect(await fabricOf(fabrics, A)).toEqual(first); // for nothing needed its place
    used.add(A.subnet.cidr);
    const joined = await fabrics.join("mcast", B);
    await fabricOf(fabrics, network("10.0.2.0/24"));
    expect(fabrics.subnets).toEqual(["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]);
    joined[Symbol.dispose]();
    joined[Symbol.dispose]();
    await fabricOf(fabrics, network("10.0.3.0/24"));
    expect(fabrics.subnets).toEqual(["10.0.0.0/24", "10.0.3.0/24"]);
    expect(keys(store)).toEqual(["networks/10.0.0.0/24", "networks/10.0.3.0/24"]);
    used.clear();
  });

  it("is in nobody's way: neither one that overlaps it, nor itself with another IPv6 subnet", async () => {
    const store = new MemoryStore();
    const fabrics = await Fabrics.open(store, { isUsed });
    await fabricOf(fabrics, A);
    await fabricOf(fabrics, network("10.0.0.0/16"));
    expect(keys(store)).toEqual(["networks/10.0.0.0/16"]);
    await fabricOf(fabrics, network("10.0.0.0/16", "fd00::/64"));
    expect(keys(store)).toEqual(["networks/10.0.0.0/16"]);
    await fabricOf(await Fabrics.open(store), network("10.0.0.0/16", "fd00::/64"));
  });

  it("does not grow the store for ever", async () => {
    const store = new MemoryStore();
    const fabrics = await Fabrics.open(store, { isUsed });
    for (let i = 0; i < 200; i++) await fabricOf(fabrics, network(`10.1.${i}.0/24`));
    expect(keys(store)).toHaveLength(1);
  });

  it("is joined anew when it was being forgotten", async () => {
    const store = new MemoryStore();
    const fabrics = await Fabrics.open(store, { isUsed });
    await fabricOf(fabrics, A);
    const transact = store.transact.bind(store);
    let joining: Promise<JoinedFabric> | undefined;
    store.transact = (transaction) => {
      joining ??= fabrics.join("mcast", A); // while A is being forgotten
      return transact(transaction);
    };
    const other = await fabrics.join("mcast", B);
    const again = await joining;
    expect(await fabricOf(await Fabrics.open(store), A)).toEqual(again?.fabric);
    expect(await fabricOf(await Fabrics.open(store), B)).toEqual(other.fabric);
  });
});

it.each([
  ["networks/10.0.0.0/24", "{"],
  ["networks/10.0.0.0/24", "{}"],
  ["networks/10.0.0.1/24", '{"fabric":{"kind":"mcast","group":"239.192.0.1","port":20000}}'],
  ["networks/10.0.0.0/24", '{"fabric":{"kind":"mcast","group":"239.192.0.1,x=y","port":20000}}'],
  ["networks/10.0.0.0/24", '{"fabric":{"kind":"mcast","group":"239.192.0.1","port":0}}'],
  ["networks/10.0.0.0/24", '{"fabric":{"kind":"mcast","group":"239.192.0.1","port":20000},"subnet6":"x"}'],
])("a damaged entry is refused: %s with %s", async (key, value) => {
  const store = new MemoryStore();
  await store.transact({ writes: [{ put: key, value }] });
  await expect(Fabrics.open(store)).rejects.toMatchObject({
    code: "STATE_DIR_DAMAGED",
    message: expect.stringContaining(key),
  });
});
