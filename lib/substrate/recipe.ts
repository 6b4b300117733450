import type { Accelerator, Paths, RecipePaths } from "../host/index.ts";
import type { IdentityProfile } from "../netcfg/index.ts";
import type { BootDependencies } from "./boot-dependencies.ts";
import type { Progress } from "./progress.ts";
import type { ReadyProbe } from "./ready/index.ts";

/**
 * What a guest was booted to reach. QEMU and the guest's kernel keep tables for it from the boot on, so that it cannot be
 * raised later.
 */
export interface GuestGrowth {
  readonly maxCpus: number;
  readonly maxMemoryMiB: number;
  /** CONFIG_HZ of its kernel, if it is known: new processors are then switched on sooner. */
  readonly timerHz?: number | undefined;
  /** Without it the disk keeps its size. */
  readonly disk?: DiskGrowth | undefined;
}

/** How a guest's root file system takes up a larger disk. Which one it is (ext4, xfs, btrfs) its helper finds out itself. */
export interface DiskGrowth {
  /** What the file system is on: the disk itself, or its last partition. */
  readonly kind: "disk" | "partition";
  readonly mountPoint: string;
  /** The name in /sys/class/block of what the file system is on. */
  readonly device: string;
  readonly maxDiskMiB: number;
}

/** What is known about a guest, and goes into the manifest of every substrate made of it. */
export interface GuestProfile {
  readonly recipe: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  /** How far clones can grow when they are claimed; without it they stay as they were frozen. */
  readonly growth?: GuestGrowth | undefined;
  /** It boots from its disk, by this. Without it, its kernel is booted directly. */
  readonly firmware?: "bios" | "uefi" | undefined;
  /** Of a kernel that is booted directly. */
  readonly kernelCommandLine: string;
  /** The NIC's name in the guest. */
  readonly interface: string;
  /** Whether a resident helper serves the helper's port; without one the guest agent carries it in. */
  readonly helper: boolean;
  readonly ready: readonly ReadyProbe[];
  readonly generalize: {
    /** Files that must not survive into a substrate; `*` matches within one path component. */
    readonly remove: readonly string[];
    /** Files that must exist and be empty. */
    readonly truncate: readonly string[];
    /** Files that match here stay, whatever else says that they must not. */
    readonly keep: readonly string[];
  };
  /** Which parts of an identity the guest has, and where. */
  readonly identity: IdentityProfile;
}

export interface RecipeContext extends BootDependencies {
  /** Where the recipe may keep downloads. */
  readonly downloadsDir: string;
  /** Empty and private; removed afterwards, also on failure. */
  readonly workDir: string;
  readonly progress: Progress;
  /** For a guest that is booted while its disk is made. */
  readonly accelerator: Accelerator;
}

/** How a guest's disk is made. */
export interface Recipe {
  readonly guest: GuestProfile;
  /** Changes exactly when the made files would. */
  inputsKey(): Promise<string>;
  /** What else of the cache a change of the recipe would be made of: kept for as long as what it makes. */
  ingredients?(paths: Paths): Promise<readonly string[]>;
  /**
   * Makes disk, helper and what the guest is booted by at the given paths, without root and without installing anything on this machine.
   * @throws VmSubstrateError RECIPE_FAILED, RECIPE_TOOL_MISSING, DISK_IMAGE_REFUSED, BUILD_FAILED, TIMEOUT, ABORTED
   */
  make(output: RecipePaths, context: RecipeContext): Promise<void>;
}
