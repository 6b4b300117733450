import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import {
  decodeAnswer,
  encodeRequest,
  type HelperAnswer,
  type HelperOperation,
} from "../../lib/netcfg/helper-protocol.ts";
import { type HelperChannel, personalise, publicIdentity, verifyResumed } from "../../lib/netcfg/index.ts";
import { FakeHelper } from "../support/fake-helper.ts";
import type { FakeScript } from "../support/fake-qemu-script.ts";
import { IDENTITY, TARGET } from "../support/identity-fixture.ts";

const OPTIONS = { timeoutMs: 5000 };

/** The fake helper without a socket in between. */
class DirectHelper implements HelperChannel {
  readonly helper: FakeHelper;
  readonly requests: string[][] = [];

  constructor(script: FakeScript = {}) {
    this.helper = new FakeHelper(new Map(), script);
  }

  async request(operations: readonly HelperOperation[]): Promise<HelperAnswer> {
    this.requests.push(operations.map(({ name }) => name));
    const line = this.helper.serve(encodeRequest("id", operations).trimEnd());
    return decodeAnswer("id", operations, line.trimEnd()) ?? [];
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Its requests, and its answers, take a while. */
class SlowHelper extends DirectHelper {
  readonly #thereMs: number;
  readonly #backMs: number;

  constructor(thereMs: number, backMs: number) {
    super();
    this.#thereMs = thereMs;
    this.#backMs = backMs;
  }

  override async request(operations: readonly HelperOperation[]): Promise<HelperAnswer> {
    await delay(this.#thereMs);
    const answer = await super.request(operations);
    await delay(this.#backMs);
    return answer;
  }
}

describe("personalise", () => {
  it("gives all of an identity in one request", async () => {
    const channel = new DirectHelper();
    await personalise(channel, IDENTITY, TARGET, OPTIONS);
    const { files, hostname, mac } = channel.helper;
    expect({ hostname, mac }).toEqual({ hostname: "n-1", mac: IDENTITY.mac });
    expect(files.get("/etc/hostname")?.toString()).toBe("n-1\n");
    expect(files.get("/etc/hosts")?.toString()).toContain("\n10.0.0.7 n-1\n");
    expect(files.get("/etc/machine-id")?.toString()).toBe(`${IDENTITY.machineId}\n`);
    expect(files.get("/etc/ssh/key")).toEqual(Buffer.from(IDENTITY.sshHostKey.opensshFile));
    expect(channel.requests).toHaveLength(1);
    expect(channel.requests[0]).toContain("entropy");
  });

  it.each<[string, FakeScript]>([
    ["hostname", { lies: { hostname: "localhost" } }],
    ["hostname", { lies: { hostname: "" } }],
    ["mac", { lies: { mac: "eth0,52:54:00:12:34:56" } }],
    ["mac", { lies: { mac: `eth1,${IDENTITY.mac}` } }],
    ["ipv4", { lies: { ipv4: "eth0,10.0.0.8,24" } }],
    ["ipv4", { lies: { ipv4: "eth0,10.0.0.7,16" } }],
    ["ipv6", { lies: { ipv6: "eth0,fe800000000000000000000000000007,64" } }],
    ["ipv6", { lies: { ipv6: "eth0" } }],
    ["entropy", { lies: { entropy: "31" } }],
    ["entropy", { lies: { entropy: "0" } }],
    ["clock", { lies: { clock: "soon" } }],
    ["clock", { lies: { clock: "1.5" } }],
    ["clock", { lies: { clock: "-1.000000000" } }],
    ["clock", { lies: { clock: "9999999999999.000000000" } }],
    ["clock", { clockOffsetMs: 60_000 }],
    ["clock", { clockOffsetMs: -60_000 }],
    ["clock", { clockOffsetMs: 10 * 365 * 86_400_000 }],
  ])("believes no wrong %s: %j", async (part, script) => {
    const personalising = personalise(new DirectHelper(script), IDENTITY, TARGET, OPTIONS);
    await expect(personalising).rejects.toMatchObject({ code: "IDENTITY_UNVERIFIED", details: { part } });
  });

  it("shows at most 100 characters of what the guest says", async () => {
    const channel = new DirectHelper({ lies: { hostname: "x".repeat(50_000) } });
    const error = await personalise(channel, IDENTITY, TARGET, OPTIONS).catch((thrown: Error) => thrown);
    expect(String(error).length).toBeLessThan(250);
  });

  it("fails when an operation does", async () => {
    const identity = { ...IDENTITY, entropy: Buffer.alloc(8) };
    await expect(personalise(new DirectHelper(), identity, TARGET, OPTIONS)).rejects.toMatchObject({
      code: "GUEST_HELPER_FAILED",
      details: { operation: "entropy" },
    });
  });

  it.each([
    { thereMs: 130, backMs: 0 },
    { thereMs: 0, backMs: 130 },
    { thereMs: 60, backMs: 70 },
  ])("sets the clock of a guest that a busy machine lets wait: %j", async ({ thereMs, backMs }) => {
    const channel = new SlowHelper(thereMs, backMs);
    await personalise(channel, IDENTITY, TARGET, OPTIONS);
    expect(channel.requests.length).toBeGreaterThan(2);
    expect(Math.abs(channel.helper.clockMs - Date.now())).toBeLessThanOrEqual(100);
  });

  it("sets the clock once more when the first request took long, and is content when that is near enough", async () => {
    const channel = new DirectHelper({ clockOffsetMs: -50 });
    await personalise(channel, IDENTITY, TARGET, OPTIONS);
    expect(channel.requests).toHaveLength(2);
    expect(channel.requests[1]).toEqual(["clock"]);
    expect(channel.helper.received[1]).toMatch(/^id clock=\d{10}\.\d{9}$/);
  });
});

describe("verifyResumed", () => {
  async function resumed(script: FakeScript = {}) {
    const channel = new DirectHelper();
    await personalise(channel, IDENTITY, TARGET, OPTIONS);
    const later = new DirectHelper(script);
    Object.assign(later.helper, { hostname: channel.helper.hostname, mac: channel.helper.mac });
    for (const [kind, address] of channel.helper.addresses) later.helper.addresses.set(kind, address);
    return later;
  }

  it("sets the clock and asks for what the kernel keeps, in one request without a file", async () => {
    const channel = await resumed();
    await verifyResumed(channel, publicIdentity(IDENTITY), TARGET, OPTIONS);
    expect(channel.requests).toEqual([["clock", "hostname", "mac", "ipv4", "ipv6", "ipv6", "clock"]]);
    expect(channel.helper.received[0]).toContain(
      " hostname= mac=eth0 ipv4=eth0 ipv6=eth0,link ipv6=eth0,global clock=",
    );
  });

  it("asks for no IPv6 where the VM or the guest has none", async () => {
    const { address6: _address6, prefixLength6: _prefixLength6, ...four } = publicIdentity(IDENTITY);
    const channel = await resumed();
    await verifyResumed(channel, four, TARGET, OPTIONS);
    expect(channel.requests[0]).not.toContain("ipv6");
    const guest = await resumed();
    await verifyResumed(guest, IDENTITY, { interface: "eth0", identity: { ipv6: false } }, OPTIONS);
    expect(guest.requests[0]).not.toContain("ipv6");
  });

  it.each<[string, FakeScript]>([
    ["hostname", { lies: { hostname: "docked" } }],
    ["mac", { lies: { mac: "eth0,52:54:00:12:34:56" } }],
    ["ipv4", { lies: { ipv4: "eth0,10.0.0.7,24;10.0.0.8,24" } }],
    ["ipv6", { lies: { ipv6: "eth0" } }],
    ["clock", { clockOffsetMs: -60_000 }],
  ])("finds another %s: %j", async (part, script) => {
    const channel = await resumed(script);
    await expect(verifyResumed(channel, IDENTITY, TARGET, OPTIONS)).rejects.toMatchObject({
      code: "IDENTITY_UNVERIFIED",
      details: { part },
    });
  });
});
