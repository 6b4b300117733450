import { describe, expect, it } from "vitest";
import { commit, HostnamePattern, Network } from "../../lib/netcfg/index.ts";
import { AUTOMATIC, EXACT, LeaseFixture, NETWORK, VALUES } from "../support/lease-fixture.ts";

const ADDRESS = { ...AUTOMATIC, addresses: ["10.0.0.1"] };
const KEYS = ["leases/address/10.0.0.1", "leases/address/fd00::1", "leases/hostname/n-0", `leases/mac/${VALUES.mac}`];
const conflict = (details: object) => expect.objectContaining({ code: "LEASE_CONFLICT", details });

describe("a hold", () => {
  it("keeps values from others at once, and is durable with its transaction", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    const hold = book.hold(["vm1"], EXACT);
    expect(hold.values).toEqual([VALUES]);
    expect(book.isFree("address", "fd00:0::1")).toBe(false);
    expect(book.ownerOf("mac", VALUES.mac)).toBe("vm1");
    expect([book.valuesOf("vm1"), book.size, fixture.keys]).toEqual([undefined, 0, []]);
    expect(() => book.hold(["vm2"], ADDRESS)).toThrow(conflict({ kind: "address", value: "10.0.0.1", holder: "vm1" }));
    expect(book.hold(["vm2"], AUTOMATIC).values[0]?.address).toBe("10.0.0.2");

    await fixture.commit(hold);
    expect(fixture.keys).toEqual(KEYS);
    const reopened = await fixture.open();
    for (const one of [book, reopened]) {
      expect(one.valuesOf("vm1")).toEqual(VALUES);
      expect(one.owners()).toEqual(["vm1"]);
      expect(one.size).toBe(4);
    }
  });

  it("that is cancelled gives everything back, without quarantine", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    const hold = book.hold(["vm1"], EXACT);
    hold.cancel();
    hold.confirm(7); // the first counts
    expect(book.owners()).toEqual([]);
    expect(book.hold(["vm1"], AUTOMATIC).values[0]).toMatchObject({ hostname: "n-0", address: "10.0.0.1" });
  });

  it("that is cancelled after others have looked past it leaves no hole", async () => {
    const book = await new LeaseFixture().open();
    const first = book.hold(["a"], AUTOMATIC);
    expect(book.hold(["b"], AUTOMATIC).values[0]).toMatchObject({ hostname: "n-1", address: "10.0.0.2" });
    first.cancel();
    expect(book.hold(["c"], AUTOMATIC).values[0]).toMatchObject({ hostname: "n-0", address: "10.0.0.1" });
  });

  it("for several owners takes all or nothing", async () => {
    const book = await new LeaseFixture().open();
    expect(() => book.hold(["a", "b"], { ...AUTOMATIC, addresses: ["10.0.0.1", "10.0.0.1"] })).toThrow();
    expect(book.hold(["a", "b"], AUTOMATIC).values.map(({ hostname }) => hostname)).toEqual(["n-0", "n-1"]);
  });

  it("is refused to an owner that has one, or is named twice", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    expect(() => book.hold(["a", "a"], AUTOMATIC)).toThrow(invalid);
    const hold = book.hold(["a"], AUTOMATIC);
    expect(() => book.hold(["a"], AUTOMATIC)).toThrow(invalid);
    expect(() => book.release("a")).toThrow(invalid);
    await fixture.commit(hold);
    expect(() => book.hold(["a"], AUTOMATIC)).toThrow(invalid);
  });

  it("that lost against another process is cancelled", async () => {
    const fixture = new LeaseFixture();
    const [one, other] = [await fixture.open(), await fixture.open()];
    const [first, second] = [one.hold(["vm1"], EXACT), other.hold(["vm2"], EXACT)];
    await fixture.commit(first);
    expect(await commit(fixture.store, [second])).toBe(false);
    expect(other.isFree("address", "10.0.0.1")).toBe(true); // as far as it knows
    await other.refresh();
    expect(other.ownerOf("address", "10.0.0.1")).toBe("vm1");
    expect(fixture.keys).toEqual(KEYS);
  });
});

describe("replacing", () => {
  it("gives the old values back with the new ones, without quarantine", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["vm1"], EXACT));
    const wanted = { ...AUTOMATIC, hostname: ["web"], addresses: ["10.0.0.5"], macs: [VALUES.mac] };
    const hold = book.hold(["vm1"], wanted, { replacing: true });
    expect(book.valuesOf("vm1")).toEqual(VALUES);
    expect(book.isFree("address", "10.0.0.1")).toBe(false);
    await fixture.commit(hold);
    const values = { hostname: "web", mac: VALUES.mac, address: "10.0.0.5", address6: "fd00::1" };
    expect(book.valuesOf("vm1")).toEqual(values);
    expect(book.isFree("address", "10.0.0.1")).toBe(true);
    expect((await fixture.open()).valuesOf("vm1")).toEqual(values);
    expect(fixture.keys).toHaveLength(4);
  });

  it("may exchange values between owners, and gives all back when it is cancelled", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["a", "b"], AUTOMATIC));
    const before = [book.valuesOf("a"), book.valuesOf("b")];
    const exchanged = { ...AUTOMATIC, addresses: ["10.0.0.2", "10.0.0.1"] };
    book.hold(["a", "b"], exchanged, { replacing: true }).cancel();
    expect([book.valuesOf("a"), book.valuesOf("b")]).toEqual(before);
    await fixture.commit(book.hold(["a", "b"], exchanged, { replacing: true }));
    expect([book.valuesOf("a"), book.valuesOf("b")].map((values) => values?.address)).toEqual(exchanged.addresses);
    expect((await fixture.open()).size).toBe(8);
  });

  it("chooses the lowest again, also of what it gives back", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["a", "b"], AUTOMATIC));
    expect(book.hold(["a"], AUTOMATIC, { replacing: true }).values[0]).toMatchObject({ address: "10.0.0.1" });
  });
});

describe("evicting", () => {
  it("gives the values of others to who asks for them, and back when it is cancelled", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["docked"], EXACT));
    expect(() => book.hold(["vm1"], EXACT)).toThrow(expect.objectContaining({ code: "LEASE_CONFLICT" }));
    const cancelled = book.hold(["vm1"], EXACT, { evicting: ["docked"] });
    expect(book.valuesOf("docked")).toBeUndefined();
    expect(book.release("docked").writes).toEqual([]);
    cancelled.cancel();
    expect(book.valuesOf("docked")).toEqual(VALUES);
    const wanted = { ...AUTOMATIC, addresses: ["10.0.0.1"], addresses6: ["fd00::5"] };
    await fixture.commit(book.hold(["vm1"], wanted, { evicting: ["docked"] }));
    for (const one of [book, await fixture.open()]) {
      expect(one.owners()).toEqual(["vm1"]);
      expect(one.valuesOf("vm1")).toMatchObject({ hostname: "n-0", address: "10.0.0.1", address6: "fd00::5" });
      expect(one.size).toBe(4);
      expect(one.isFree("address", "fd00::1")).toBe(true);
    }
  });

  it("may be all that there is to do, as may nothing", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["docked"], EXACT));
    expect(book.hold([], { ...AUTOMATIC, hostname: HostnamePattern.parse("solo") }).writes).toEqual([]);
    await fixture.commit(book.hold([], EXACT, { evicting: ["docked"] }));
    expect(fixture.keys).toEqual([]);
  });
});

describe("a release", () => {
  it("frees hostname and MAC, quarantines addresses, and happens once", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["vm1"], EXACT));
    const release = book.release("vm1");
    expect(book.valuesOf("vm1")).toBeUndefined();
    expect(book.ownerOf("hostname", "n-0")).toBeUndefined();
    expect(book.release("vm1").writes).toEqual([]);
    await fixture.commit(release);
    expect(book.release("vm1").writes).toEqual([]);
    expect(book.release("nobody").writes).toEqual([]);
    expect(fixture.keys).toEqual(KEYS.slice(0, 2));
    expect(book.isFree("hostname", "n-0")).toBe(true);
    expect(book.isFree("mac", VALUES.mac)).toBe(true);
    expect(book.isFree("address", "10.0.0.1")).toBe(false);
    expect(book.size).toBe(0);
    expect(() => book.hold(["vm2"], ADDRESS)).toThrow(/10\.0\.0\.1" is quarantined for 1000 ms more/);
    expect(book.hold(["vm2"], AUTOMATIC).values[0]).toMatchObject({ hostname: "n-0", address: "10.0.0.2" });
  });

  it("that is cancelled did not happen", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["vm1"], EXACT));
    book.release("vm1").cancel();
    expect(book.valuesOf("vm1")).toEqual(VALUES);
    expect(book.release("vm1").writes).toHaveLength(4);
  });

  it("of one owner by two processes happens once, and takes nothing from who has the values since", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["vm1"], EXACT));
    const stale = await fixture.open();
    await fixture.commit(book.discard("vm1"));
    await fixture.commit(book.hold(["vm2"], EXACT));
    expect(await commit(fixture.store, [stale.release("vm1")])).toBe(false);
    expect((await fixture.open()).valuesOf("vm2")).toEqual(VALUES);
  });

  it("as a discard leaves no quarantine", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["vm1"], EXACT));
    await fixture.commit(book.discard("vm1"));
    expect(fixture.keys).toEqual([]);
    expect(book.isFree("address", "10.0.0.1")).toBe(true);
  });
});

describe("lease", () => {
  it("learns what others have taken, and what they have given back", async () => {
    const fixture = new LeaseFixture();
    const [one, other] = [await fixture.open(), await fixture.open()];
    await one.lease(["a"], EXACT);
    await expect(other.lease(["b"], EXACT)).rejects.toMatchObject({ code: "LEASE_CONFLICT", details: { holder: "a" } });
    expect(await other.lease(["b"], AUTOMATIC)).toMatchObject([{ address: "10.0.0.2" }]);
    await fixture.commit(one.discard("a"));
    expect(await other.lease(["c"], EXACT)).toEqual([VALUES]);
    await fixture.commit(other.discard("c"));
    await one.refresh();
    expect(await one.lease(["d"], AUTOMATIC)).toMatchObject([{ hostname: "n-0", address: "10.0.0.1" }]);
  });

  it("gives up when others are always faster", async () => {
    const fixture = new LeaseFixture();
    fixture.store.transact = async () => ({ committed: false, revision: 1 });
    const book = await fixture.open();
    await expect(book.lease(["a"], AUTOMATIC)).rejects.toMatchObject({ code: "LEASE_CONFLICT" });
    expect(book.isFree("hostname", "n-0")).toBe(true);
  });
});

describe("uses", () => {
  it("says whether a VM has an address of a subnet, or is about to", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    const other = Network.parse({ subnet: "10.0.1.0/24" }).subnet;
    const hold = book.hold(["a"], AUTOMATIC);
    expect([book.uses(NETWORK.subnet), book.uses(other)]).toEqual([true, false]);
    await fixture.commit(hold);
    expect([book.uses(NETWORK.subnet), book.uses(other)]).toEqual([true, false]);
    await fixture.commit(book.release("a"));
    expect(book.uses(NETWORK.subnet)).toBe(false); // the quarantine uses nothing
  });
});

it("leases and releases 20 000 VMs among thousands without going through all of them each time", async () => {
  const fixture = new LeaseFixture();
  const book = await fixture.open();
  const network = Network.parse({ subnet: "10.0.0.0/16", subnet6: "fd00::/64" });
  const request = { ...AUTOMATIC, network };
  const startedAt = performance.now();
  for (let i = 0; i < 20_000; i++) {
    await fixture.commit(book.hold([`vm${i}`], request));
    if (i >= 3000) await fixture.commit(book.release(`vm${i - 3000 + ((i * 7) % 2) * 1500}`));
    fixture.nowMs += 1;
  }
  expect(performance.now() - startedAt).toBeLessThan(8000);
}, 20_000);
