import { z } from "zod";
import { messageOf, VmSubstrateError } from "../core/index.ts";
import type { Fabric } from "./fabric.ts";
import { isAddress } from "./ip-address.ts";
import { Subnet } from "./subnet.ts";
import { Subnet6 } from "./subnet6.ts";

/** All networks' keys begin with it: "networks/10.77.0.0/16". */
export const NETWORKS_PREFIX = "networks/";

const recordSchema = z.strictObject({
  fabric: z.strictObject({
    kind: z.literal("mcast"),
    group: z.string().refine(isAddress),
    port: z.int().min(1).max(65_535),
  }),
  subnet6: z.string().optional(),
});

/** A network that VMs share, as it is kept. */
export interface FabricNetwork {
  readonly subnet: Subnet;
  readonly subnet6: Subnet6 | undefined;
  readonly fabric: Exclude<Fabric, { kind: "none" }>;
}

export function networkKey(subnet: Subnet): string {
  return `${NETWORKS_PREFIX}${subnet.cidr}`;
}

export function networkText({ fabric, subnet6 }: FabricNetwork): string {
  return JSON.stringify({ fabric, subnet6: subnet6?.cidr });
}

/** @throws VmSubstrateError STATE_DIR_DAMAGED */
export function parseNetworkRecord(key: string, text: string): FabricNetwork {
  try {
    const { fabric, subnet6 } = recordSchema.parse(JSON.parse(text));
    return {
      subnet: Subnet.parse(key.slice(NETWORKS_PREFIX.length)),
      subnet6: subnet6 === undefined ? undefined : Subnet6.parse(subnet6),
      fabric,
    };
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw new VmSubstrateError("STATE_DIR_DAMAGED", `the store's ${key} cannot be read: ${problem}`, { cause });
  }
}
