import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LeaseBook, type LeasedValues } from "../../lib/netcfg/index.ts";

const LEASE_KINDS = ["hostname", "address", "mac"] as const;
const VALUES: LeasedValues = { hostname: "a", address: "10.0.0.1", mac: "02:00:00:00:00:01" };

describe("LeaseBook", () => {
  it("leases values to one owner, and gives them back", () => {
    const book = new LeaseBook();
    book.lease("vm1", VALUES);
    for (const kind of LEASE_KINDS) {
      expect(book.ownerOf(kind, VALUES[kind])).toBe("vm1");
      expect(book.isFree(kind, VALUES[kind])).toBe(false);
    }
    book.release("vm1");
    book.release("vm1");
    expect(book.size).toBe(0);
  });

  it.each(LEASE_KINDS)("refuses a %s that is leased, naming it and its holder, and leases nothing", (kind) => {
    const book = new LeaseBook();
    book.lease("vm1", VALUES);
    const wanted = { hostname: "b", address: "10.0.0.2", mac: "02:00:00:00:00:02", [kind]: VALUES[kind] };
    expect(() => book.lease("vm2", wanted)).toThrow(
      expect.objectContaining({
        code: "LEASE_CONFLICT",
        details: { kind, value: VALUES[kind] },
        message: expect.stringContaining("vm1"),
      }),
    );
    expect(book.size).toBe(3);
  });

  it("keeps kinds apart", () => {
    const book = new LeaseBook();
    book.lease("vm1", { hostname: "x", address: "y", mac: "z" });
    book.lease("vm2", { hostname: "y", address: "z", mac: "x" });
    expect(book.size).toBe(6);
  });
});

/** The simplest thing that could be right: a list of who has what. */
type Model = { owner: string; values: LeasedValues }[];

const owner = fc.constantFrom("vm1", "vm2", "vm3", "vm4");
const values = fc.record({
  hostname: fc.constantFrom("a", "b", "c", "d"),
  address: fc.constantFrom("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"),
  mac: fc.constantFrom("02:1", "02:2", "02:3", "02:4"),
});

class Lease implements fc.Command<Model, LeaseBook> {
  readonly owner: string;
  readonly values: LeasedValues;

  constructor(who: string, what: LeasedValues) {
    this.owner = who;
    this.values = what;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, book: LeaseBook): void {
    const isFree = LEASE_KINDS.every((kind) => model.every((held) => held.values[kind] !== this.values[kind]));
    const before = book.size;
    if (isFree) {
      book.lease(this.owner, this.values);
      model.push({ owner: this.owner, values: this.values });
    } else {
      expect(() => book.lease(this.owner, this.values)).toThrow(expect.objectContaining({ code: "LEASE_CONFLICT" }));
      expect(book.size, "all or none").toBe(before);
    }
    requireEqual(model, book);
  }

  toString(): string {
    return `lease ${this.owner} ${JSON.stringify(this.values)}`;
  }
}

class Release implements fc.Command<Model, LeaseBook> {
  readonly owner: string;

  constructor(who: string) {
    this.owner = who;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, book: LeaseBook): void {
    book.release(this.owner);
    model.splice(0, model.length, ...model.filter((held) => held.owner !== this.owner));
    requireEqual(model, book);
  }

  toString(): string {
    return `release ${this.owner}`;
  }
}

function requireEqual(model: Model, book: LeaseBook): void {
  expect(book.size).toBe(model.length * LEASE_KINDS.length);
  for (const held of model) {
    for (const kind of LEASE_KINDS) expect(book.ownerOf(kind, held.values[kind])).toBe(held.owner);
  }
}

describe("LeaseBook, against a model", () => {
  it("never has two owners of a value, and gives back exactly what an owner has", () => {
    const commands = fc.commands(
      [fc.tuple(owner, values).map(([who, what]) => new Lease(who, what)), owner.map((who) => new Release(who))],
      { maxCommands: 60, size: "max" },
    );
    fc.assert(
      fc.property(commands, (sequence) => fc.modelRun(() => ({ model: [], real: new LeaseBook() }), sequence)),
      { numRuns: 100 },
    );
  });
});
