import { randomUUID } from "node:crypto";
import { newId } from "../core/index.ts";
import type { Fabric, Identity } from "../netcfg/index.ts";

/** All that is decided about one clone before anything is touched. */
export interface ClonePlan {
  readonly id: string;
  readonly uuid: string;
  readonly identity: Identity;
  readonly fabric: Fabric;
}

/** The names of a clone that is yet to be made. */
export function newClonePlan(): Pick<ClonePlan, "id" | "uuid"> {
  return { id: newId(), uuid: randomUUID() };
}
