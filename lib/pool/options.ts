import type { ChannelKind } from "../clone/index.ts";
import type { Logger } from "../core/index.ts";
import type { Accelerator, Directories } from "../host/index.ts";
import type { FabricKind } from "../netcfg/index.ts";
import type { BuildProgress } from "../substrate/index.ts";

export interface PoolOptions extends Directories {
  /** QEMU's executable. Default: qemu-system-x86_64 on the PATH. */
  readonly qemu?: string | undefined;
  /** `auto`, the default, takes KVM when a canary guest boots under it, else TCG. */
  readonly accelerator?: "auto" | Accelerator | undefined;
  /** How many clones are started at the same time. Default: the number of processors. */
  readonly parallelStarts?: number | undefined;
  readonly logger?: Logger | undefined;
}

export interface BuildOptions {
  /** `mini`. */
  readonly recipe: string;
  /** The substrate's name. Default: the recipe's. */
  readonly name?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: BuildProgress) => void) | undefined;
}

export interface NetworkSpec {
  /** Default `none`: the VM has an address but no link. */
  readonly fabric?: FabricKind | undefined;
  /** IPv4 network, prefix length 8 to 30. VMs that name the same one meet on the same fabric. Default 10.77.0.0/16. */
  readonly subnet?: string | undefined;
  /** One for each VM, in order. Default: the lowest free. */
  readonly addresses?: readonly string[] | undefined;
}

export interface ActivateSpec {
  /** Name of a substrate in the catalog. */
  readonly substrate: string;
  /** A name, or a pattern with `{index}`: the lowest free number from 0. Default: the substrate's name and `-{index}`. */
  readonly hostname?: string | undefined;
  readonly network?: NetworkSpec | undefined;
  /** How identity reaches the guest: its resident `helper` (default), or the guest `agent` alone. */
  readonly channel?: ChannelKind | undefined;
  /** Milliseconds for the whole call. Default 120 000. */
  readonly timeoutMs?: number | undefined;
}

export interface DockOptions {
  /** How many clones wait at least, 0 to 1024. */
  readonly min: number;
  /** How many may wait when claims come often. Default: `min`. */
  readonly max?: number | undefined;
  /** Whether waiting clones ran once already: faster claims for more memory. Default true. */
  readonly primed?: boolean | undefined;
}

/** The state of the dock of one substrate. */
export interface DockStatus {
  readonly substrate: string;
  readonly version: number;
  readonly primed: boolean;
  /** Clones that can be claimed now. */
  readonly ready: number;
  readonly starting: number;
  /** How many are to be ready, between `min` and `max`, following the claims of the last seconds. */
  readonly target: number;
  readonly min: number;
  readonly max: number;
  /** Failed starts in a row; each makes the pause before the next longer. */
  readonly failures: number;
  readonly lastError: string | undefined;
}

export interface CallOptions {
  /** Aborting undoes all that the call has begun. */
  readonly signal?: AbortSignal | undefined;
}
