import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
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
