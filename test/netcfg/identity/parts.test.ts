import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { decodeAnswer, encodeRequest, type HelperOperation } from "../../../lib/netcfg/helper-protocol.ts";
import type { Asked, IdentityPart } from "../../../lib/netcfg/identity/index.ts";
import { dhcpDuid } from "../../../lib/netcfg/identity/parts/dhcp-duid.ts";
import { IDENTITY_PARTS, newIdentity, type PersonaliseTarget } from "../../../lib/netcfg/index.ts";
import { FakeHelper } from "../../support/fake-helper.ts";
import { IDENTITY as BARE, TARGET } from "../../support/identity-fixture.ts";

const KEY = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5${"A".repeat(48)} me@home`;
const IDENTITY = { ...BARE, authorizedKeys: [KEY] };
const NONE: PersonaliseTarget = { interface: "eth0", identity: { ipv6: false, vmGenerationId: false } };

function answers(helper: FakeHelper, operations: readonly HelperOperation[]): readonly string[] {
  const line = helper.serve(encodeRequest("id", operations).trimEnd()).trimEnd();
  return decodeAnswer("id", operations, line) ?? [];
}

function ask(helper: FakeHelper, part: IdentityPart, asked: Asked): void {
  part.verify(answers(helper, part[asked](IDENTITY, TARGET)), asked, IDENTITY, TARGET);
}

describe.each(IDENTITY_PARTS.map((part) => [part.name, part] as const))("%s", (name, part) => {
  it("is read back as it was set", () => {
    const helper = new FakeHelper();
    ask(helper, part, "set");
    ask(helper, part, "read");
  });

  it("is read without being changed", () => {
    const helper = new FakeHelper();
    ask(helper, part, "set");
    const state = () => [helper.hostname, helper.mac, new Map(helper.addresses), new Map(helper.files)];
    const before = state();
    ask(helper, part, "read");
    expect(state()).toEqual(before);
  });

  it("is another one in another identity, or is refused", () => {
    if (part.read(IDENTITY, TARGET).length === 0 || name === "clock") return; // cannot be read, or is the same for all
    const helper = new FakeHelper();
    const other = newIdentity(
      { hostname: "n-2", address: "10.0.0.8", mac: "02:5e:10:aa:31:08", address6: "fd77::8" },
      { prefixLength: 24, prefixLength6: 64 },
    );
    answers(helper, part.set(other, TARGET));
    expect(() => ask(helper, part, "read")).toThrow(
      expect.objectContaining({ code: "IDENTITY_UNVERIFIED", details: expect.objectContaining({ part: name }) }),
    );
  });
});

describe("the registry", () => {
  it("has every part that there is, under names of their own", () => {
    const files = readdirSync(join(import.meta.dirname, "../../../lib/netcfg/identity/parts"));
    const names = IDENTITY_PARTS.map((part) => part.name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThanOrEqual(files.length);
  });

  it("asks a guest that has no such parts for nothing but what every kernel has", () => {
    const operations = IDENTITY_PARTS.flatMap((part) => part.set(IDENTITY, NONE));
    expect(operations.map(({ name }) => name)).toEqual(["clock", "entropy", "hostname", "mac", "ipv4"]);
  });

  it("fits into one request", () => {
    const operations = IDENTITY_PARTS.flatMap((part) => part.set(IDENTITY, TARGET));
    expect(encodeRequest("0123456789abcdef", operations).length).toBeLessThan(8 * 1024);
  });

  it("shows no secret in an error", () => {
    const helper = new FakeHelper();
    for (const part of IDENTITY_PARTS) ask(helper, part, "set");
    helper.files.set("/etc/ssh/key", Buffer.from("another"));
    const part = IDENTITY_PARTS.find(({ name }) => name === "ssh host key");
    expect(() => part && ask(helper, part, "read")).toThrow(/\(secret\)/);
  });
});

describe("files", () => {
  const helper = new FakeHelper();
  for (const part of IDENTITY_PARTS) ask(helper, part, "set");
  const text = (path: string) => helper.files.get(path)?.toString("latin1");

  it("hold what their programs expect", () => {
    expect(text("/etc/hostname")).toBe("n-1\n");
    expect(text("/etc/hosts")).toBe(
      "127.0.0.1 localhost\n10.0.0.7 n-1\n::1 localhost ip6-localhost ip6-loopback\nfd77::7 n-1\n",
    );
    expect(text("/etc/machine-id")).toBe(`${IDENTITY.machineId}\n`);
    expect(text("/var/lib/dbus/machine-id")).toBe(`${IDENTITY.machineId}\n`);
    expect(text("/root/.ssh/authorized_keys")).toBe(`${KEY}\n`);
    expect(text("/etc/ssh/key.pub")).toBe(`${IDENTITY.sshHostKey.publicKey}\n`);
    expect(helper.files.get("/var/lib/random-seed")).toEqual(IDENTITY.randomSeed);
  });

  it("that are secret are root's alone", () => {
    for (const path of ["/etc/ssh/key", "/root/.ssh/authorized_keys", "/var/lib/random-seed"])
      expect(helper.modes.get(path), path).toBe("600");
  });

  it("of nobody's keys are empty, and replace somebody's", () => {
    const nobody = newIdentity({ hostname: "a", address: "10.0.0.1", mac: "02:00:00:00:00:01" }, { prefixLength: 24 });
    answers(
      helper,
      IDENTITY_PARTS.flatMap((part) => part.set(nobody, TARGET)),
    );
    expect(text("/root/.ssh/authorized_keys")).toBe("");
  });

  it("of dhclient name a DUID of type UUID: machine-id", () => {
    const identity = { ...IDENTITY, machineId: "00ff10203040506070809a0b0c0d0e0f" };
    const [operation] = dhcpDuid.set(identity, TARGET);
    const content = Buffer.from(operation?.value.split(",")[2] ?? "", "base64").toString();
    expect(content).toBe(
      `${String.raw`default-duid "\000\004\000\377\020\040\060\100\120\140\160\200\232\013\014\015\016\017";`}\n`,
    );
  });
});

describe("addresses", () => {
  it("of IPv6 are the one that the MAC address makes, and the global one", () => {
    const helper = new FakeHelper();
    for (const part of IDENTITY_PARTS) ask(helper, part, "set");
    expect(helper.addresses.get("link")).toBe(",fe80000000000000005e10fffeaa3107,64");
    expect(helper.addresses.get("global")).toBe(`,fd77${"0".repeat(27)}7,64`);
  });

  it.each([{ address6: "10.0.0.7" }, { address6: "fd77::7", prefixLength6: undefined }])("refuse %j", (change) => {
    const identity = { ...IDENTITY, ...change };
    expect(() => IDENTITY_PARTS.flatMap((part) => part.set(identity, TARGET))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});
