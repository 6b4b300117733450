import { randomUUID } from "node:crypto";
import { newId } from "../core/index.ts";
import type { NetdevConfig } from "../host/index.ts";
import { type Fabric, type Identity, type LeasedValues, newIdentity } from "../netcfg/index.ts";

/** All that is decided about one clone before anything is touched. */
export interface ClonePlan {
  readonly id: string;
  readonly uuid: string;
  readonly identity: Identity;
  readonly fabric: Fabric;
}

/** Plans for values that were chosen and are free. Pure but for randomness. */
export function planClones(values: readonly LeasedValues[], prefixLength: number, fabric: Fabric): ClonePlan[] {
  return values.map((value) => ({
    id: newId(),
    uuid: randomUUID(),
    identity: newIdentity(value, prefixLength),
    fabric,
  }));
}

export function netdevFor(fabric: Fabric): NetdevConfig {
  switch (fabric.kind) {
    case "none":
      return { type: "isolated" };
    case "mcast":
      return { type: "mcast", group: fabric.group, port: fabric.port };
  }
}
