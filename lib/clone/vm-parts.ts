import type { KernelTarget, PublicIdentity } from "../netcfg/index.ts";
import type { Clone } from "./clone.ts";
import type { OnFailpoint } from "./failpoints.ts";
import type { Timings } from "./phases.ts";
import type { Resources } from "./resources.ts";
import type { VmOwner } from "./vm-owner.ts";
import type { VmOrigin } from "./vm-state.ts";

/** What a VM's handle is made of. */
export interface VmParts<Vm> {
  readonly id: string;
  readonly identity: PublicIdentity;
  /** Where in the guest its identity is. */
  readonly target: KernelTarget;
  readonly substrate: { readonly name: string; readonly version: number };
  readonly resources: Resources;
  readonly origin: VmOrigin;
  readonly labels: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  readonly timings: Timings;
  readonly clone: Clone;
  readonly owner: VmOwner<Vm>;
  readonly failpoint: OnFailpoint;
  /** Of a VM that was taken over, when it was forked or is a fork: what is under its disk. */
  readonly instants?: readonly string[] | undefined;
  /** Of a VM that was taken over. Default `running`. */
  readonly state?: "running" | "parked";
}
