import type { QemuInstance, VmPaths } from "../host/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { ClonePlan } from "./plan.ts";

/** What clones are forked from: see `Zygote`. */
export interface Forkable {
  /** The disk as its forks know it. */
  copyDisk(overlay: string): Promise<void>;
  /**
   * A paused clone, in prepared folders with a copy of the disk.
   * @throws VmSubstrateError QEMU_EXITED, QMP_CONNECT, TIMEOUT, ABORTED; nothing is left running
   */
  fork(names: Pick<ClonePlan, "id" | "uuid">, paths: VmPaths, signal: AbortSignal): Promise<QemuInstance>;
}

/** Where the clones of a pool find what to be forked from. */
export interface ZygoteSource {
  /** Undefined while there is none. Whoever asks wants one: it may be made after that. */
  of(substrate: LoadedSubstrate): Forkable | undefined;
  /** It could not be forked. */
  failed(zygote: Forkable, error: unknown): void;
}
