import { describe, expect, it } from "vitest";
import {
  decodeAnswer,
  encodeRequest,
  type HelperAnswer,
  type HelperOperation,
} from "../../lib/netcfg/helper-protocol.ts";
import { awaitCarrier, type HelperChannel, newIdentity, personalise } from "../../lib/netcfg/index.ts";
import { FakeHelper } from "../support/fake-helper.ts";
import type { FakeScript } from "../support/fake-qemu-script.ts";

const IDENTITY = newIdentity({ hostname: "n-1", address: "10.0.0.7", mac: "02:00:00:00:00:07" }, 24);
const TARGET = { interface: "eth0", sshHostKey: { path: "/etc/key", format: "dropbear" } } as const;
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

describe("personalise", () => {
  it("gives all of an identity in one request", async () => {
    const channel = new DirectHelper();
    await personalise(channel, IDENTITY, TARGET, OPTIONS);
    const { files, hostname, mac } = channel.helper;
    expect({ hostname, mac }).toEqual({ hostname: "n-1", mac: IDENTITY.mac });
    expect(files.get("/etc/hostname")?.toString()).toBe("n-1\n");
    expect(files.get("/etc/hosts")?.toString()).toBe("127.0.0.1 localhost\n10.0.0.7 n-1\n");
    expect(files.get("/etc/machine-id")?.toString()).toBe(`${IDENTITY.machineId}\n`);
    expect(files.get("/etc/key")).toEqual(IDENTITY.sshHostKey.dropbearFile);
    expect(channel.requests).toHaveLength(1);
    expect(channel.requests[0]).toContain("entropy");
  });

  it.each<[string, FakeScript]>([
    ["hostname", { lies: { hostname: "localhost" } }],
    ["hostname", { lies: { hostname: "" } }],
    ["mac", { lies: { mac: "eth0,52:54:00:12:34:56" } }],
    ["mac", { lies: { mac: "eth1,02:00:00:00:00:07" } }],
    ["ipv4", { lies: { ipv4: "eth0,10.0.0.8,24" } }],
    ["ipv4", { lies: { ipv4: "eth0,10.0.0.7,16" } }],
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

  it("sets the clock once more when the first request took long, and is content when that is near enough", async () => {
    const channel = new DirectHelper({ clockOffsetMs: -50 });
    await personalise(channel, IDENTITY, TARGET, OPTIONS);
    expect(channel.requests).toHaveLength(2);
    expect(channel.requests[1]).toEqual(["clock"]);
    expect(channel.helper.received[1]).toMatch(/^id clock=\d{10}\.\d{9}$/);
  });
});

describe("awaitCarrier", () => {
  it("is content with a link and nothing else", async () => {
    const channel = new DirectHelper();
    channel.helper.linkUp = true;
    await awaitCarrier(channel, "eth0", OPTIONS);
    channel.helper.linkUp = false;
    await expect(awaitCarrier(channel, "eth0", OPTIONS)).rejects.toMatchObject({
      code: "IDENTITY_UNVERIFIED",
      details: { part: "link" },
    });
  });
});
