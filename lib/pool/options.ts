import type { ChannelKind, Vm } from "../clone/index.ts";
import type { Logger, VmSubstrateError } from "../core/index.ts";
import type { Accelerator, Directories } from "../host/index.ts";
import type { FabricKind } from "../netcfg/index.ts";
import type { BuildProgress } from "../substrate/index.ts";
import type { BreakerState } from "./breaker.ts";
import type { OnExpiry } from "./lifetime.ts";

export interface PoolOptions extends Directories {
  /** QEMU's executable. Default: qemu-system-x86_64 on the PATH. */
  readonly qemu?: string | undefined;
  /** `auto`, the default, takes KVM when a canary guest boots under it, else TCG. */
  readonly accelerator?: "auto" | Accelerator | undefined;
  /** How many clones are started at the same time. Default: the number of processors. */
  readonly parallelStarts?: number | undefined;
  /** Fork QEMUs from one that has started, which saves memory and time, where that works. Default true. */
  readonly forkServer?: boolean | undefined;
  /**
   * Fork clones from a paused guest that has run already, one for each substrate, instead of loading each: they are warm from the
   * beginning and share its memory. Default true; needs the fork server, and TCG. See docs/adr/0025-zygotes.md.
   */
  readonly zygotes?: boolean | undefined;
  /** Most memory that all clones together may take, MiB of Pss. Default: what the machine has available. */
  readonly memoryMiB?: number | undefined;
  /** How long an address is given to nobody after its release, because neighbours remember its MAC. Default 30 000. */
  readonly addressQuarantineMs?: number | undefined;
  /** Milliseconds between two signs of life that each VM is asked for; 0 for never. Default 10 000. */
  readonly heartbeatMs?: number | undefined;
  /** What becomes of the docks of an earlier owner: `restore` sets them again. Default `forget`. */
  readonly docks?: "forget" | "restore" | undefined;
  readonly logger?: Logger | undefined;
}

export interface BuildOptions {
  /** `mini` or `debian`. Either this or `recipeFile`. */
  readonly recipe?: string | undefined;
  /** Path of a recipe in YAML. */
  readonly recipeFile?: string | undefined;
  /** The substrate's name. Default: the recipe's, or the file's without its ending. */
  readonly name?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: BuildProgress) => void) | undefined;
}

export interface NetworkSpec {
  /** Default `none`: the VM has an address but no link. */
  readonly fabric?: FabricKind | undefined;
  /** IPv4 network, prefix length 8 to 30. VMs that name the same one meet on the same fabric. Default 10.77.0.0/16. */
  readonly subnet?: string | undefined;
  /** IPv6 network, prefix length 48 to 126, e.g. "fd77::/64". Default: none, only the link's own address. */
  readonly subnet6?: string | undefined;
  /** Addresses that no VM gets: "10.77.0.1-10.77.0.9", "10.77.0.128/25", "10.77.0.5", also of IPv6. */
  readonly reserved?: readonly string[] | undefined;
  /** One for each VM, in order. Default: the lowest free. */
  readonly addresses?: readonly string[] | undefined;
  /** One for each VM, in order. Default: the lowest free of `subnet6`. */
  readonly addresses6?: readonly string[] | undefined;
  /** One for each VM, in order. Default: random ones. */
  readonly macs?: readonly string[] | undefined;
}

export interface FileSpec {
  /** Absolute, without spaces or commas. Its directory must be there. */
  readonly path: string;
  readonly content: string | Uint8Array;
  /** Default 0o644. */
  readonly mode?: number | undefined;
}

export interface RunSpec {
  /** The program and its arguments; never a shell. */
  readonly argv: readonly string[];
  /** Milliseconds. Default 60 000. */
  readonly timeoutMs?: number | undefined;
}

/** Each is by default as the substrate was frozen, and can be at most what that was built to reach. */
export interface ResourcesSpec {
  readonly cpus?: number | undefined;
  /** Rounded up: beyond what the substrate has, memory comes in blocks of 128 MiB. */
  readonly memoryMiB?: number | undefined;
  /** The disk's size; the root file system has all of it. */
  readonly diskMiB?: number | undefined;
}

export interface ActivateSpec {
  /** A substrate in the catalog: "mini" or "mini@latest", its newest version, or "mini@3". */
  readonly substrate: string;
  /**
   * A name, or a pattern with `{index}`: the lowest free number from 0; or one name for each VM. Default: the substrate's name
   * and `-{index}`.
   */
  readonly hostname?: string | readonly string[] | undefined;
  readonly network?: NetworkSpec | undefined;
  /** Processors, memory and disk that each VM has before anybody gets it: `vm.resources`. */
  readonly resources?: ResourcesSpec | undefined;
  /** OpenSSH public keys ("ssh-ed25519 AAAA... comment") that may log in as root. */
  readonly authorizedKeys?: readonly string[] | undefined;
  /** Written before anybody gets the VM. */
  readonly files?: readonly FileSpec[] | undefined;
  /** Environment of `run` and of every `vm.exec`, and /etc/environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Must end with status 0 before anybody gets the VM. */
  readonly run?: RunSpec | undefined;
  /** For your own bookkeeping: `vm.labels`. They survive this process. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds until the VM expires, unless `vm.extend` puts it off. Default: never. */
  readonly ttlMs?: number | undefined;
  /** Milliseconds until the VM is released, whatever was extended. Default: never. */
  readonly maxLifetimeMs?: number | undefined;
  /** What happens after `ttlMs`. Default `release`. */
  readonly onExpiry?: OnExpiry | undefined;
  /** Wait, in line with others, while memory or addresses are short, rather than fail. Default false. */
  readonly wait?: boolean | undefined;
  /** A call that is repeated with the same key gives the same VMs: at most one call of that key makes any. */
  readonly idempotencyKey?: string | undefined;
  /** How identity reaches the guest: its resident `helper` (default), or the guest `agent` alone. */
  readonly channel?: ChannelKind | undefined;
  /** Milliseconds for the whole call. Default 120 000. */
  readonly timeoutMs?: number | undefined;
}

/** What became of one VM of `activateSettled`. */
export type ActivateOutcome = { readonly vm: Vm } | { readonly error: VmSubstrateError };

export interface DockOptions {
  /** How many clones wait at least, 0 to 1024. Default 0. */
  readonly min?: number | undefined;
  /** How many may wait when claims come often. Default: `min`, or as many as fit into `maxMiB`. */
  readonly max?: number | undefined;
  /** As `max`, by the memory that they are measured to take together. The smaller of both counts. */
  readonly maxMiB?: number | undefined;
  /** Whether waiting clones ran once already: faster claims for more memory. Default true. */
  readonly primed?: boolean | undefined;
  /** The hostname pattern of the claims to come; primed clones have such a name already. Default as `ActivateSpec.hostname`. */
  readonly hostname?: string | undefined;
  /** The network of the claims to come; primed clones have its addresses already. */
  readonly network?: Pick<NetworkSpec, "subnet" | "subnet6" | "reserved"> | undefined;
}

/** The state of the dock of one substrate. */
export interface DockStatus {
  readonly substrate: string;
  readonly version: number;
  /** Whether it was made for this version by its number. Any other is remade for a new version. */
  readonly pinned: boolean;
  readonly primed: boolean;
  /** Clones that can be claimed now. */
  readonly ready: number;
  readonly starting: number;
  /** How many are to be ready, between `min` and `max`, following the claims of the last seconds. */
  readonly target: number;
  readonly min: number;
  /** Also by `maxMiB`. */
  readonly max: number;
  readonly maxMiB: number | undefined;
  /** What the waiting clones take, Pss; undefined until some were measured. */
  readonly memoryMiB: number | undefined;
  /** Failed starts in a row; each makes the pause before the next longer. */
  readonly failures: number;
  /** `open` after five failures in a row: then one start at a time tries whether it has passed. */
  readonly breaker: BreakerState;
  readonly lastError: string | undefined;
}

export interface CallOptions {
  /** Aborting undoes all that the call has begun. */
  readonly signal?: AbortSignal | undefined;
}

export interface ActivateOptions extends CallOptions {
  /** In the log lines and the event `failed` of this call: 1 to 64 printable characters. Default: a random one. */
  readonly callId?: string | undefined;
}

export interface CloseOptions {
  /** `keep` leaves VMs running, for whoever opens the state directory next. Default `release`. */
  readonly vms?: "release" | "keep" | undefined;
}
