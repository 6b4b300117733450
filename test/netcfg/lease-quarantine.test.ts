import { describe, expect, it } from "vitest";
import { commit, type LeaseBook } from "../../lib/netcfg/index.ts";
import { AUTOMATIC, EXACT, LeaseFixture, QUARANTINE_MS, VALUES } from "../support/lease-fixture.ts";

describe("a quarantine", () => {
  async function released(): Promise<[LeaseFixture, LeaseBook]> {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["vm1"], EXACT));
    await fixture.commit(book.release("vm1"));
    return [fixture, book];
  }

  it("ends by the given clock, and the address is the lowest again", async () => {
    const [fixture, book] = await released();
    fixture.nowMs = QUARANTINE_MS - 1;
    expect(book.isFree("address", "10.0.0.1")).toBe(false);
    fixture.nowMs = QUARANTINE_MS;
    expect(book.isFree("address", "10.0.0.1")).toBe(true);
    const hold = book.hold(["vm2"], AUTOMATIC);
    expect(hold.values[0]).toMatchObject({ address: "10.0.0.1", address6: "fd00::1" });
    await fixture.commit(hold);
    expect((await fixture.open()).owners()).toEqual(["vm2"]);
  });

  it("lasts its full time again after reopening, but not after a refresh", async () => {
    const [fixture, book] = await released();
    fixture.nowMs = 900;
    const reopened = await fixture.open();
    await book.refresh();
    fixture.nowMs = 1000;
    expect(book.isFree("address", "10.0.0.1")).toBe(true);
    expect(reopened.isFree("address", "10.0.0.1")).toBe(false);
    fixture.nowMs = 1900;
    expect(reopened.isFree("address", "10.0.0.1")).toBe(true);
  });

  it("is swept out of the store when it is over, and only then", async () => {
    const [fixture, book] = await released();
    expect(book.sweep().writes).toEqual([]);
    fixture.nowMs = QUARANTINE_MS;
    const cancelled = book.sweep();
    expect(book.isFree("address", "10.0.0.1")).toBe(false); // until it is known whether the key is gone
    cancelled.cancel();
    expect(book.isFree("address", "10.0.0.1")).toBe(true);
    await fixture.commit(book.sweep());
    expect(fixture.keys).toEqual([]);
    expect(book.sweep().writes).toEqual([]);
    expect(book.hold(["vm2"], AUTOMATIC).values[0]?.address).toBe("10.0.0.1");
  });

  it("is swept by the way when values are leased", async () => {
    const [fixture, book] = await released();
    fixture.nowMs = QUARANTINE_MS;
    await book.lease(["vm2"], { ...AUTOMATIC, addresses: ["10.0.0.6"], addresses6: ["fd00::6"] });
    expect(fixture.keys.filter((key) => key.includes("/address/"))).toEqual([
      "leases/address/10.0.0.6",
      "leases/address/fd00::6",
    ]);
  });

  it("of a sweep by another process does not end what is used since", async () => {
    const [fixture, book] = await released();
    const other = await fixture.open();
    fixture.nowMs = QUARANTINE_MS;
    await fixture.commit(other.hold(["vm2"], EXACT));
    expect(await commit(fixture.store, [book.sweep()])).toBe(false);
    expect((await fixture.open()).valuesOf("vm2")).toEqual(VALUES);
  });

  it("is named when nothing else is left, with the time until it ends", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    const owners = ["a", "b", "c", "d", "e", "f"];
    await book.lease(owners, AUTOMATIC);
    for (const owner of owners) {
      await fixture.commit(book.release(owner));
      fixture.nowMs += 100;
    }
    await expect(book.lease(["g"], AUTOMATIC)).rejects.toMatchObject({
      code: "LEASE_EXHAUSTED",
      details: { free: 0, needed: 1, capacity: 6, quarantined: 6, nextFreeMs: 400 },
      message: expect.stringMatching(/only quarantined ones are left: 6 given back lately, the next is free in 400 ms/),
    });
    fixture.nowMs += 400;
    expect(await book.lease(["g"], AUTOMATIC)).toMatchObject([{ address: "10.0.0.1" }]);
  });
});

describe("an address that a foreign host uses", () => {
  it("is given to nobody for a while", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.quarantine("10.0.0.1"), book.quarantine("FD00::1"));
    for (const one of [book, await fixture.open()]) {
      const hold = one.hold(["vm1"], AUTOMATIC);
      expect(hold.values[0]).toMatchObject({ address: "10.0.0.2", address6: "fd00::2" });
      hold.cancel();
    }
    fixture.nowMs = QUARANTINE_MS;
    expect(book.hold(["vm1"], AUTOMATIC).values[0]?.address).toBe("10.0.0.1");
    expect(() => book.quarantine("nonsense")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("is quarantined when its holder gets another one", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    const [before] = await book.lease(["vm1"], AUTOMATIC);
    await fixture.commit(book.quarantine("10.0.0.1"));
    expect(book.valuesOf("vm1")).toEqual(before);
    const [after] = await book.lease(["vm1"], AUTOMATIC, { replacing: true });
    expect(after).toMatchObject({ hostname: "n-0", address: "10.0.0.2", address6: "fd00::1" });
    expect(book.isFree("address", "10.0.0.1")).toBe(false);
    expect((await fixture.open()).isFree("address", "10.0.0.1")).toBe(false);
  });
});
