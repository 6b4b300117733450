import { describe, expect, it } from "vitest";
import { encodeRequest, HELPER_REQUEST_MAX_BYTES } from "../../../lib/netcfg/helper-protocol.ts";
import { IDENTITY_PARTS, MAX_AUTHORIZED_KEYS, newIdentity, requireAuthorizedKeys } from "../../../lib/netcfg/index.ts";
import { newSshHostKey } from "../../../lib/netcfg/ssh-host-key.ts";
import { FAKE_GUEST } from "../../support/fake-substrate.ts";

const KEY = newSshHostKey().publicKey;
const BLOB = KEY.split(" ")[1] ?? "";
const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });

describe("authorized keys", () => {
  it("are taken with and without a comment", () => {
    requireAuthorizedKeys([]);
    requireAuthorizedKeys([KEY, `${KEY} me@home, laptop`]);
  });

  it.each([
    ["an empty line", ""],
    ["no key", "ssh-ed25519"],
    ["an unknown type", `ssh-dss ${BLOB}`],
    ["another type than the key's", `ssh-rsa ${BLOB}`],
    ["a key cut short", "ssh-ed25519 AAAAC3Nz"],
    ["options", `command="/bin/sh" ${KEY}`],
    ["options without quotes", `no-pty ${KEY}`],
    ["a second line", `${KEY}\n${KEY}`],
    ["a newline at the end", `${KEY}\n`],
    ["a carriage return", `${KEY} a\r`],
    ["a control character in the comment", `${KEY} \x1b[2J`],
    ["a comment out of this world", `${KEY} é`],
    ["a private key", newSshHostKey().opensshFile],
    ["forty kilobytes", `${KEY} ${"x".repeat(40_000)}`],
  ])("are not %s", (_, line) => {
    expect(() => requireAuthorizedKeys([KEY, line])).toThrow(invalid);
  });

  it("are not without number", () => {
    expect(() => requireAuthorizedKeys(Array.from({ length: MAX_AUTHORIZED_KEYS + 1 }, () => KEY))).toThrow(invalid);
  });

  it("fit into one request with the rest of an identity, as many as there may be", () => {
    const keys = Array.from({ length: 8 }, () => `${KEY} ${"x".repeat(3900)}`);
    const values = { hostname: "h".repeat(63), address: "10.100.100.100", mac: "02:00:00:00:00:01" };
    const identity = newIdentity(values, { prefixLength: 24 }, { authorizedKeys: keys });
    const operations = IDENTITY_PARTS.flatMap((part) => part.set(identity, FAKE_GUEST));
    expect(encodeRequest("0123456789abcdef", operations).length).toBeLessThan(HELPER_REQUEST_MAX_BYTES);
  });

  it("are looked at where an identity is made", () => {
    const values = { hostname: "a", address: "10.0.0.1", mac: "02:00:00:00:00:01" };
    expect(() => newIdentity(values, { prefixLength: 24 }, { authorizedKeys: ["x"] })).toThrow(invalid);
  });
});
