import { randomInt } from "node:crypto";
import { VmSubstrateError } from "../core/index.ts";
import type { Subnet } from "./subnet.ts";

/** How VMs are joined. `none`: not at all. `mcast`: QEMUs of this host over loopback multicast, without root. */
export const FABRICS = ["none", "mcast"] as const;
export type FabricKind = (typeof FABRICS)[number];

/** The layer-2 network that one subnet of one pool is on. */
export type Fabric =
  | { readonly kind: "none" }
  | { readonly kind: "mcast"; readonly group: string; readonly port: number };

/** The networks of one pool: VMs that name the same subnet meet on the same fabric. */
export class Fabrics {
  readonly #mcast = new Map<string, { readonly subnet: Subnet; readonly fabric: Fabric }>();

  /** @throws VmSubstrateError INVALID_ARGUMENT for a subnet that overlaps another: their VMs would not meet */
  of(kind: FabricKind, subnet: Subnet): Fabric {
    if (kind === "none") return { kind };
    const known = this.#mcast.get(subnet.cidr);
    if (known !== undefined) return known.fabric;
    for (const other of this.#mcast.values()) if (other.subnet.overlaps(subnet)) throw overlap(subnet, other.subnet);
    const fabric = newMcast();
    this.#mcast.set(subnet.cidr, { subnet, fabric });
    return fabric;
  }
}

function overlap(subnet: Subnet, other: Subnet): VmSubstrateError {
  const message = `subnet ${subnet.cidr} overlaps ${other.cidr}, which is another network of this pool; use that one, or a subnet apart from it`;
  return new VmSubstrateError("INVALID_ARGUMENT", message, { details: { subnet: subnet.cidr, other: other.cidr } });
}

/** The organization-local scope (RFC 2365, 6.2), so that pools that know nothing of each other do not meet. */
function newMcast(): Fabric {
  const group = `239.${randomInt(192, 196)}.${randomInt(256)}.${randomInt(1, 255)}`;
  return { kind: "mcast", group, port: randomInt(20_000, 32_000) };
}
