import type { ArchiveProgress, ScrubbedSubstrate, SubstrateVersion } from "../substrate/index.ts";

export interface ExportOptions {
  readonly onProgress?: ((progress: ArchiveProgress) => void) | undefined;
  /** Aborting leaves no file. */
  readonly signal?: AbortSignal | undefined;
}

export interface ExportedSubstrate extends SubstrateVersion {
  /** Absolute. */
  readonly file: string;
  /** Of the archive. */
  readonly sizeBytes: number;
}

export interface ImportOptions {
  /** The substrate's name in this catalog. Default: the one it was exported with. */
  readonly name?: string | undefined;
  readonly onProgress?: ((progress: ArchiveProgress) => void) | undefined;
  /** Aborting leaves nothing in the catalog. */
  readonly signal?: AbortSignal | undefined;
}

export interface PruneOptions {
  /** How many of the newest versions of each name stay in any case, at least 1. */
  readonly keep: number;
  readonly signal?: AbortSignal | undefined;
}

/** Who keeps a substrate from being removed. */
export interface SubstrateUser {
  /** `vm`: running or parked. `docked`: a clone in a dock. `dock`: one that is to have clones. `build`: of that name. `call`: one under way. */
  readonly kind: "vm" | "docked" | "dock" | "build" | "call";
  /** Of a VM or docked clone; of a call, its name. */
  readonly id?: string;
}

export interface PruneReport {
  readonly removed: readonly SubstrateVersion[];
  /** Old versions that stay because something uses them. */
  readonly inUse: readonly (SubstrateVersion & { readonly users: readonly SubstrateUser[] })[];
}

export interface ScrubOptions {
  /** How much is read on average, MiB a second. Default 200. */
  readonly maxMiBPerSecond?: number | undefined;
  /** Called with the result of each version. */
  readonly onProgress?: ((substrate: ScrubbedSubstrate) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ScrubReport {
  /** Every version in the catalog, damaged or not. */
  readonly substrates: readonly ScrubbedSubstrate[];
  /** How many of them are damaged. */
  readonly damaged: number;
  readonly bytes: number;
}
