import { execFileSync } from "node:child_process";
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { newSshHostKey } from "../../lib/netcfg/ssh-host-key.ts";

/** RFC 4251 strings, to the end. */
function sshStrings(bytes: Buffer): Buffer[] {
  const strings: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    strings.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
    expect(at).toBeLessThanOrEqual(bytes.length);
  }
  return strings;
}

it("dropbear's file holds the private half of the public key", () => {
  const { publicKey, dropbearFile } = newSshHostKey();
  const [type, base64 = ""] = publicKey.split(" ");
  expect(type).toBe("ssh-ed25519");
  const [publicType, point = Buffer.alloc(0), ...more] = sshStrings(Buffer.from(base64, "base64"));
  const [fileType, secretAndPoint = Buffer.alloc(0), ...rest] = sshStrings(dropbearFile);
  expect([publicType, fileType].map(String)).toEqual(["ssh-ed25519", "ssh-ed25519"]);
  expect([...more, ...rest]).toEqual([]);
  expect(secretAndPoint).toHaveLength(64);
  expect(secretAndPoint.subarray(32)).toEqual(point);

  const x = point.toString("base64url");
  const d = secretAndPoint.subarray(0, 32).toString("base64url");
  const privateKey = createPrivateKey({ key: { kty: "OKP", crv: "Ed25519", x, d }, format: "jwk" });
  const peers = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const signature = sign(null, Buffer.from("exchange hash"), privateKey);
  expect(verify(null, Buffer.from("exchange hash"), peers, signature)).toBe(true);
  expect(verify(null, Buffer.from("another"), peers, signature)).toBe(false);
});

it("no two keys are the same", () => {
  const keys = Array.from({ length: 50 }, newSshHostKey);
  expect(new Set(keys.map(({ publicKey }) => publicKey)).size).toBe(50);
  expect(new Set(keys.map(({ dropbearFile }) => dropbearFile.toString("hex"))).size).toBe(50);
});

it("OpenSSH's file is padded to its block, and wrapped as ssh-keygen does", () => {
  for (let i = 0; i < 20; i++) {
    const lines = newSshHostKey().opensshFile.split("\n");
    expect([lines[0], lines.at(-2), lines.at(-1)]).toEqual([
      "-----BEGIN OPENSSH PRIVATE KEY-----",
      "-----END OPENSSH PRIVATE KEY-----",
      "",
    ]);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(70);
    const body = Buffer.from(lines.slice(1, -2).join(""), "base64");
    expect(body.subarray(0, 15).toString("latin1")).toBe("openssh-key-v1\0");
    const [cipher, kdf, kdfOptions] = sshStrings(body.subarray(15, 15 + 8 + 8 + 4));
    expect([cipher, kdf, kdfOptions].map(String)).toEqual(["none", "none", ""]);
    const [publicBlob, secret = Buffer.alloc(0), ...more] = sshStrings(body.subarray(15 + 20 + 4));
    expect(publicBlob?.toString("latin1")).toContain("ssh-ed25519");
    expect(secret.length % 8).toBe(0);
    expect(secret.readUInt32BE(0)).toBe(secret.readUInt32BE(4));
    expect(more).toEqual([]);
  }
});

it("ssh-keygen derives the public key from OpenSSH's file", () => {
  const folder = mkdtempSync(join(tmpdir(), "vm-key-"));
  try {
    const { publicKey, opensshFile } = newSshHostKey();
    const file = join(folder, "key");
    writeFileSync(file, opensshFile);
    chmodSync(file, 0o600);
    expect(execFileSync("/usr/bin/ssh-keygen", ["-y", "-f", file], { encoding: "utf8" }).trim()).toBe(publicKey);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
