import { filePart } from "../file-part.ts";

/** DUID-UUID, RFC 6355 section 4. */
const DUID_TYPE_UUID = 4;

/**
 * Who the guest is to a DHCP server: derived from machine-id, so that it needs no lease and no memory of its own. Written
 * as ISC dhclient's `default-duid`, the bytes that are not printable in octal. Source: dhclient.leases(5).
 */
export const dhcpDuid = filePart("dhcp duid", (identity, { identity: { dhclientLeases: path } }) =>
  path === undefined ? [] : [{ path, mode: 0o644, content: `default-duid "${octal(duid(identity.machineId))}";\n` }],
);

function duid(machineId: string): Buffer {
  return Buffer.concat([Buffer.from([0, DUID_TYPE_UUID]), Buffer.from(machineId, "hex")]);
}

function octal(bytes: Buffer): string {
  return [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
}
