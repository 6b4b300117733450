import { VmSubstrateError } from "../../core/index.ts";

/** All lines together: they have to fit into one request with the rest of an identity. About 80 RSA keys of 4096 bits. */
const AUTHORIZED_KEYS_MAX_BYTES = 32 * 1024;
export const MAX_AUTHORIZED_KEYS = 256;

/** The types that OpenSSH and dropbear know. Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT. */
const TYPES = new Set([
  "ssh-ed25519",
  "ssh-rsa",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "sk-ssh-ed25519@openssh.com",
  "sk-ecdsa-sha2-nistp256@openssh.com",
]);
const LINE = /^(\S+) ([A-Za-z0-9+/]+={0,2})(?: [\x20-\x7e]*)?$/;

/**
 * A line of authorized_keys is a type, the key and perhaps a comment. Options before the type (`command=`, `environment=`)
 * are refused: they would let whoever hands over a key decide what runs in the guest. So is a newline, which would add a
 * key of its own, and a blob whose own type is another than the line's.
 *
 * @throws VmSubstrateError INVALID_ARGUMENT naming the first bad one
 */
export function requireAuthorizedKeys(lines: readonly string[]): void {
  if (lines.length > MAX_AUTHORIZED_KEYS)
    throw invalid(`${lines.length} authorized keys, at most ${MAX_AUTHORIZED_KEYS}`);
  const bytes = lines.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
  if (bytes > AUTHORIZED_KEYS_MAX_BYTES)
    throw invalid(`authorized keys of ${bytes} bytes, at most ${AUTHORIZED_KEYS_MAX_BYTES}`);
  for (const [i, line] of lines.entries()) {
    const problem = problemOf(line);
    if (problem !== undefined)
      throw invalid(`authorized key ${i + 1} ${problem}; expected "ssh-ed25519 AAAA... comment"`);
  }
}

function problemOf(line: string): string | undefined {
  const [, type = "", base64 = ""] = LINE.exec(line) ?? [];
  if (!TYPES.has(type)) return "does not begin with a known key type";
  const blob = Buffer.from(base64, "base64");
  // RFC 4253 section 6.6: the blob begins with its type, as a string with its length before it.
  const named = Buffer.from(type);
  const begins = blob.length > named.length + 4 && blob.readUInt32BE(0) === named.length;
  return begins && blob.subarray(4, 4 + named.length).equals(named) ? undefined : `is no key of type ${type}`;
}

function invalid(message: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", message);
}
