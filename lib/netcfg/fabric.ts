import { randomInt } from "node:crypto";

/** How VMs are joined. `none`: not at all. `mcast`: QEMUs of this host over loopback multicast, without root. */
export const FABRICS = ["none", "mcast"] as const;
export type FabricKind = (typeof FABRICS)[number];

/** The layer-2 network that one subnet of one pool is on. */
export type Fabric =
  | { readonly kind: "none" }
  | { readonly kind: "mcast"; readonly group: string; readonly port: number };

/** The organization-local scope (RFC 2365, 6.2), so that pools that know nothing of each other do not meet. */
export function newMcast(): Extract<Fabric, { kind: "mcast" }> {
  const group = `239.${randomInt(192, 196)}.${randomInt(256)}.${randomInt(1, 255)}`;
  return { kind: "mcast", group, port: randomInt(20_000, 32_000) };
}
