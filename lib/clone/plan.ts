import { randomUUID } from "node:crypto";
import { newId } from "../core/index.ts";
import { type Fabric, type Identity, type LeasedValues, newIdentity } from "../netcfg/index.ts";

/** All that is decided about one clone before anything is touched. */
export interface ClonePlan {
  readonly id: string;
  readonly uuid: string;
  readonly identity: Identity;
  readonly fabric: Fabric;
}

/**
 * Plans for values that were chosen and are free. Pure but for randomness.
 *
 * @param ids of the docked clones that will be used for the first of them
 */
export function planClones(
  values: readonly LeasedValues[],
  prefixLength: number,
  fabric: Fabric,
  ids: readonly string[] = [],
): ClonePlan[] {
  return values.map((value, i) => ({
    id: ids[i] ?? newId(),
    uuid: randomUUID(),
    identity: newIdentity(value, prefixLength),
    fabric,
  }));
}
