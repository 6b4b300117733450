import { describe, expect, it } from "vitest";
import {
  type AddressRequest,
  commit,
  HostnamePattern,
  isUnicastMac,
  LeaseBook,
  Network,
  type NetworkSpec,
} from "../../lib/netcfg/index.ts";
import { MemoryStore } from "../support/memory-store.ts";

type Parts = Partial<Omit<AddressRequest, "network" | "hostname">> & { hostname?: string | readonly string[] };

function request(network: string | NetworkSpec, { hostname = "n-{index}", ...parts }: Parts = {}): AddressRequest {
  return {
    ...parts,
    hostname: typeof hostname === "string" ? HostnamePattern.parse(hostname) : hostname,
    network: Network.parse(typeof network === "string" ? { subnet: network } : network),
  };
}

async function bookWith(...held: AddressRequest[]): Promise<LeaseBook> {
  const store = new MemoryStore();
  const book = await LeaseBook.open(store, { quarantineMs: 1000, now: () => 0 });
  for (const [i, one] of held.entries()) await commit(store, [book.hold([`vm${i}`], one)]);
  return book;
}

function plan(book: LeaseBook, count: number, wanted: AddressRequest) {
  const owners = Array.from({ length: count }, (_, i) => `new${i}`);
  const hold = book.hold(owners, wanted);
  hold.cancel();
  return hold.values;
}

const refused = (code: string, details?: object) =>
  expect.objectContaining({ code, ...(details === undefined ? {} : { details: expect.objectContaining(details) }) });

const DUAL: NetworkSpec = { subnet: "10.0.0.0/29", subnet6: "fd00::/64" };
const TAKEN = request(DUAL, { hostname: ["n-1"], addresses: ["10.0.0.2"], addresses6: ["fd00::1"] });

describe("what is left to the plan", () => {
  it("is the lowest free name and address of either family, and a random MAC", async () => {
    const book = await bookWith(TAKEN);
    const values = plan(book, 3, request(DUAL));
    expect(values.map(({ hostname }) => hostname)).toEqual(["n-0", "n-2", "n-3"]);
    expect(values.map(({ address }) => address)).toEqual(["10.0.0.1", "10.0.0.3", "10.0.0.4"]);
    expect(values.map(({ address6 }) => address6)).toEqual(["fd00::2", "fd00::3", "fd00::4"]);
    expect(values.every(({ mac }) => isUnicastMac(mac))).toBe(true);
    expect(book.size).toBe(4); // planning holds nothing durably
  });

  it("is no IPv6 address in a network without", async () => {
    const [values] = plan(await bookWith(), 1, request("10.0.0.0/29"));
    expect(values?.address6).toBeUndefined();
  });

  it("is never what is reserved", async () => {
    const network = { ...DUAL, reserved: ["10.0.0.1-10.0.0.3", "fd00::-fd00::ffff"] };
    const book = await bookWith();
    const values = plan(book, 3, request(network));
    expect(values.map(({ address }) => address)).toEqual(["10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    expect(values.map(({ address6 }) => address6)).toEqual(["fd00::1:0", "fd00::1:1", "fd00::1:2"]);
    expect(() => plan(book, 4, request(network))).toThrow(refused("LEASE_EXHAUSTED", { free: 3 }));
  });

  it("costs little in a large subnet", async () => {
    const book = await bookWith();
    const startedAt = performance.now();
    const values = plan(book, 1000, request({ subnet: "10.0.0.0/8", subnet6: "fd00::/48" }));
    expect(values.at(-1)).toMatchObject({ hostname: "n-999", address: "10.0.3.232", address6: "fd00::3e8" });
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });
});

describe("what is asked for by name", () => {
  it("is given in its order", async () => {
    const parts = {
      hostname: ["beta", "alpha"],
      addresses: ["10.0.0.6", "10.0.0.1"],
      addresses6: ["FD00:0::0b", "fd00::a"],
      macs: ["52:54:00:00:00:02", "52:54:00:00:00:01"],
    };
    expect(plan(await bookWith(), 2, request(DUAL, parts))).toEqual([
      { hostname: "beta", address: "10.0.0.6", address6: "fd00::b", mac: "52:54:00:00:00:02" },
      { hostname: "alpha", address: "10.0.0.1", address6: "fd00::a", mac: "52:54:00:00:00:01" },
    ]);
  });

  it("is refused when another has it, naming kind, value and holder", async () => {
    const mac = "52:54:00:00:00:01";
    const book = await bookWith({ ...TAKEN, macs: [mac] });
    const conflicts: [Parts, { kind: string; value: string }][] = [
      [{ hostname: "n-1" }, { kind: "hostname", value: "n-1" }],
      [{ hostname: ["n-1"] }, { kind: "hostname", value: "n-1" }],
      [{ addresses: ["10.0.0.2"] }, { kind: "address", value: "10.0.0.2" }],
      [{ addresses6: ["fd00:0::1"] }, { kind: "address", value: "fd00::1" }],
      [{ macs: [mac] }, { kind: "mac", value: mac }],
    ];
    for (const [parts, details] of conflicts) {
      expect(() => plan(book, 1, request(DUAL, parts))).toThrow(
        expect.objectContaining({
          code: "LEASE_CONFLICT",
          details: { ...details, holder: "vm0" },
          message: expect.stringMatching(/is leased by VM vm0/),
        }),
      );
    }
  });

  it.each<[Parts, string]>([
    [{ hostname: ["a", "a"] }, "hostname"],
    [{ addresses: ["10.0.0.1", "10.0.0.1"] }, "address"],
    [{ addresses6: ["fd00::1", "fd00:0::1"] }, "address"],
    [{ macs: ["02:00:00:00:00:01", "02:00:00:00:00:01"] }, "mac"],
  ])("is refused twice in one request: %j", async (parts, kind) => {
    const book = await bookWith();
    expect(() => plan(book, 2, request(DUAL, parts))).toThrow(refused("LEASE_CONFLICT", { kind }));
  });

  it.each<[Parts, string]>([
    [{ hostname: ["a", "b", "c"] }, "INVALID_ARGUMENT"],
    [{ hostname: ["a", "-b"] }, "INVALID_ARGUMENT"],
    [{ hostname: ["a", "n-{index}"] }, "INVALID_ARGUMENT"],
    [{ hostname: "solo" }, "LEASE_CONFLICT"],
    [{ addresses: ["10.0.0.1"] }, "INVALID_ARGUMENT"],
    [{ addresses6: [] }, "INVALID_ARGUMENT"],
    [{ macs: ["02:00:00:00:00:01"] }, "INVALID_ARGUMENT"],
    [{ macs: ["02:00:00:00:00:01", "02:00:00:00:00:AA"] }, "INVALID_ARGUMENT"],
    [{ macs: ["02:00:00:00:00:01", "01:00:5e:00:00:01"] }, "INVALID_ARGUMENT"],
    [{ macs: ["02:00:00:00:00:01", "00:00:00:00:00:00"] }, "INVALID_ARGUMENT"],
    [{ addresses: ["10.0.0.1", "10.0.1.2"] }, "ADDRESS_OUTSIDE_SUBNET"],
    [{ addresses: ["10.0.0.1", "10.0.0.0"] }, "ADDRESS_OUTSIDE_SUBNET"],
    [{ addresses: ["10.0.0.1", "10.0.0.7"] }, "ADDRESS_OUTSIDE_SUBNET"],
    [{ addresses: ["10.0.0.1", "fd00::1"] }, "ADDRESS_OUTSIDE_SUBNET"],
    [{ addresses: ["10.0.0.1", "nonsense"] }, "ADDRESS_OUTSIDE_SUBNET"],
    [{ addresses6: ["fd00::1", "fd00::"] }, "ADDRESS_OUTSIDE_SUBNET"],
    [{ addresses6: ["fd00::1", "fd00:0:0:1::1"] }, "ADDRESS_OUTSIDE_SUBNET"],
    [{ addresses6: ["fd00::1", "10.0.0.1"] }, "ADDRESS_OUTSIDE_SUBNET"],
  ])("for two VMs may not be %j: %s", async (parts, code) => {
    const book = await bookWith();
    expect(() => plan(book, 2, request(DUAL, parts))).toThrow(refused(code));
  });

  it("may not be an IPv6 address in a network without, nor a reserved address", async () => {
    const book = await bookWith();
    expect(() => plan(book, 1, request("10.0.0.0/29", { addresses6: ["fd00::1"] }))).toThrow(
      refused("INVALID_ARGUMENT"),
    );
    const reserved = { ...DUAL, reserved: ["10.0.0.4/30", "fd00::1"] };
    for (const parts of [{ addresses: ["10.0.0.5"] }, { addresses6: ["fd00::1"] }]) {
      const refusal = { code: "LEASE_CONFLICT", message: expect.stringMatching(/is reserved/) };
      expect(() => plan(book, 1, request(reserved, parts))).toThrow(expect.objectContaining(refusal));
    }
  });
});

describe("when there is too little", () => {
  it("the error has the numbers", async () => {
    const book = await bookWith(TAKEN);
    expect(() => plan(book, 6, request(DUAL))).toThrow(
      expect.objectContaining({
        code: "LEASE_EXHAUSTED",
        details: expect.objectContaining({ free: 5, needed: 6, capacity: 6, quarantined: 0 }),
        message: expect.stringContaining("subnet 10.0.0.0/29 has 5 free of 6 addresses, 6 are needed"),
      }),
    );
    const small6 = { subnet: "10.0.0.0/24", subnet6: "fd00::/126" };
    expect(() => plan(book, 3, request(small6))).toThrow(refused("LEASE_EXHAUSTED", { free: 2, capacity: 3 }));
  });

  it("nothing is held", async () => {
    const book = await bookWith();
    expect(() => plan(book, 7, request(DUAL))).toThrow(refused("LEASE_EXHAUSTED"));
    expect(plan(book, 6, request(DUAL))).toHaveLength(6);
    expect(book.isFree("hostname", "n-0")).toBe(true);
  });
});
