import type { BuildProgress } from "../substrate/index.ts";

export interface FreezeOptions {
  /** Of the substrate; a name that is there gets a new version. */
  readonly name: string;
  /** Aborting undoes all that the call has begun. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: BuildProgress) => void) | undefined;
}

/** The substrate that was made. */
export interface Frozen {
  readonly name: string;
  readonly version: number;
}
