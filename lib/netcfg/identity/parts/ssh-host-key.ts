import { filePart, type PartFile } from "../file-part.ts";

/**
 * Dropbear with -R reads its host key at each connection while it found none at its start; OpenSSH's sshd reads it at
 * its start, so that a recipe with sshd must start that per connection or after the identity is there.
 */
export const sshHostKey = filePart("ssh host key", ({ sshHostKey: key }, { identity: { sshHostKey: place } }) => {
  if (place === undefined) return [];
  const { path, format } = place;
  const privateKey = { path, mode: 0o600, secret: true };
  if (format === "dropbear") return [{ ...privateKey, content: key.dropbearFile }];
  const publicKey: PartFile = { path: `${path}.pub`, mode: 0o644, content: `${key.publicKey}\n` };
  return [{ ...privateKey, content: key.opensshFile }, publicKey];
});
