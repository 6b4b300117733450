import { describe, expect, it } from "vitest";
import { AUTOMATIC, LeaseFixture } from "../support/lease-fixture.ts";

describe("a refresh", () => {
  it("does not undo what was confirmed while it was under way", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    await fixture.commit(book.hold(["old"], { ...AUTOMATIC, hostname: ["old"] }));
    const list = fixture.store.list.bind(fixture.store);
    fixture.store.list = async (prefix) => {
      const listing = await list(prefix);
      await fixture.commit(book.hold(["new"], { ...AUTOMATIC, hostname: ["new"] }), book.discard("old"));
      return listing;
    };
    await book.refresh();
    expect(book.owners()).toEqual(["new"]);
    fixture.store.list = list;
    await book.refresh();
    expect(book.owners()).toEqual(["new"]);
  });

  it("may see a transaction before it is confirmed", async () => {
    const fixture = new LeaseFixture();
    const book = await fixture.open();
    const hold = book.hold(["a"], AUTOMATIC);
    const { revision } = await fixture.store.transact(hold);
    await book.refresh();
    expect(book.owners()).toEqual(["a"]);
    const stranger = await fixture.open();
    await fixture.commit(stranger.discard("a"));
    await book.refresh();
    hold.confirm(revision); // late: the values are somebody else's business by now
    expect(book.owners()).toEqual([]);
    expect(book.isFree("hostname", "n-0")).toBe(true);
  });
});

describe("a damaged store", () => {
  it.each([
    ["leases/address/10.0.0.1", "{"],
    ["leases/address/10.0.0.1", "{}"],
    ["leases/address/10.0.0.1", '{"owner":"","state":"held"}'],
    ["leases/address/10.0.0.1", '{"owner":"a","state":"lost"}'],
    ["leases/address/10.0.0.1", '{"owner":"a","state":"held","more":1}'],
    ["leases/address/10.0.0.01", '{"owner":"a","state":"quarantined"}'],
    ["leases/address/FD00::1", '{"owner":"a","state":"quarantined"}'],
    ["leases/hostname/a.b", '{"owner":"a","state":"held"}'],
    ["leases/hostname/ab", '{"owner":"a","state":"quarantined"}'],
    ["leases/mac/ff:ff:ff:ff:ff:ff", '{"owner":"a","state":"held"}'],
    ["leases/toString/x", '{"owner":"a","state":"held"}'],
    ["leases/x", '{"owner":"a","state":"held"}'],
    ["leases/hostname/half", '{"owner":"a","state":"held"}'],
  ])("is refused: %s with %s", async (key, value) => {
    const fixture = new LeaseFixture();
    await fixture.store.transact({ writes: [{ put: key, value }] });
    await expect(fixture.open()).rejects.toMatchObject({
      code: "STATE_DIR_DAMAGED",
      message: expect.stringContaining(key),
    });
  });
});
