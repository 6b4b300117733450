import { filePart } from "../file-part.ts";

/** hosts(5): the VM's own name, in both families where it has both, and localhost as Debian's installer has it. */
export const hosts = filePart("hosts", (identity, { identity: { hosts: path, ipv6 } }) => {
  const { hostname, address, address6 } = identity;
  const lines = ["127.0.0.1 localhost", `${address} ${hostname}`];
  if (ipv6) lines.push("::1 localhost ip6-localhost ip6-loopback");
  if (ipv6 && address6 !== undefined) lines.push(`${address6} ${hostname}`);
  return path === undefined ? [] : [{ path, mode: 0o644, content: `${lines.join("\n")}\n` }];
});
