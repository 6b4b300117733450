import { rm } from "node:fs/promises";
import type { OnFailpoint, Vm } from "../clone/index.ts";
import { type EventSource, silentLogger, validate } from "../core/index.ts";
import { ensurePrivateDir, ForkServer, identifyQemu, Paths, sharedMemory } from "../host/index.ts";
import type { LeaseUse } from "../netcfg/index.ts";
import { OwnerLock } from "../store/index.ts";
import { recipeFromFile, recipeNamed, type SubstrateVersion } from "../substrate/index.ts";
import { Calls } from "./calls.ts";
import { recoverDocks } from "./dock-recovery.ts";
import { dockTarget } from "./dock-target.ts";
import { openDurableState } from "./durable-state.ts";
import { type GcOptions, gcCall } from "./gc-call.ts";
import { collect, takeOver } from "./housekeeping.ts";
import type { GcReport } from "./inventory.ts";
import type { MemoryUse } from "./memory.ts";
import type {
  ActivateOptions,
  ActivateOutcome,
  ActivateSpec,
  BuildOptions,
  CallOptions,
  CloseOptions,
  DockOptions,
  DockStatus,
  PoolOptions,
} from "./options.ts";
import { allVms, settleAll } from "./outcomes.ts";
import type { PoolEvents } from "./pool-events.ts";
import { type GivenParts, type PoolParts, poolParts } from "./pool-parts.ts";
import {
  buildOptionsSchema,
  closeOptionsSchema,
  dockedOptionsSchema,
  dockOptionsSchema,
  nameSchema,
  poolOptionsSchema,
  referenceSchema,
} from "./schemas.ts";
import { exportCall, importCall, pruneCall, removeCall, scrubCall } from "./substrate-calls.ts";
import { type SubstrateInfo, substrateInfo } from "./substrate-info.ts";
import type {
  ExportedSubstrate,
  ExportOptions,
  ImportOptions,
  PruneOptions,
  PruneReport,
  ScrubOptions,
  ScrubReport,
} from "./substrate-options.ts";

/** What is for tests of this project alone. */
export interface PoolInternals {
  readonly failpoint?: OnFailpoint;
}

/**
 * The substrates of one state directory and the VMs made of them. One process owns a state directory at a time.
 *
 * ```ts
 * await using pool = await Pool.open();
 * await pool.build({ recipe: "mini" });
 * const [vm] = await pool.activate(1, { substrate: "mini" });
 * ```
 */
export class Pool implements AsyncDisposable {
  readonly #parts: PoolParts;
  readonly #calls = new Calls();
  /** What is closed last: the fork server, the store, the owner's lock. */
  readonly #owned: AsyncDisposableStack;
  #closed: Promise<void> | undefined;

  private constructor(given: Omit<GivenParts, "closing" | "calls">, owned: AsyncDisposableStack) {
    this.#parts = poolParts({ ...given, closing: this.#calls.closing, calls: this.#calls });
    this.#owned = owned;
  }

  /**
   * Opens a state directory, making it where it is missing. VMs that an earlier owner has handed out are taken over: they are
   * in `vms`. Whatever else it left is cleared away, its docks as well unless they are to be set again.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, STATE_DIR_LOCKED, STATE_DIR_DAMAGED, STORE_TOO_NEW, STORE_UNWRITABLE,
   *   UNSAFE_DIRECTORY, QEMU_MISSING, QEMU_UNSUPPORTED, PATH_TOO_LONG, INSUFFICIENT_SHARED_MEMORY when there is no such directory
   */
  static async open(options: PoolOptions = {}, internals: PoolInternals = {}): Promise<Pool> {
    const valid = validate(poolOptionsSchema, options, "Pool.open");
    const { logger = silentLogger } = valid;
    const { failpoint = () => {} } = internals;
    const qemu = await identifyQemu(valid.qemu);
    const paths = new Paths(valid);
    paths.vm("x".repeat(12)); // a runtime directory too deep for a socket is refused now, not at the first VM
    const { isTmpfs } = await sharedMemory(paths.sharedMemoryRoot);
    if (!isTmpfs) logger.warn({ dir: paths.sharedMemoryRoot }, "not a tmpfs: RAM files there are as slow as its disk");
    await using undo = new AsyncDisposableStack();
    await ensurePrivateDir(paths.stateDir);
    undo.use(OwnerLock.acquire(paths.ownerLock, paths.stateDir));
    // Only by the owner: a pool that is refused makes nothing.
    for (const dir of [paths.runtimeDir, paths.sharedMemoryDir, paths.cacheDir, paths.substrates, paths.vms])
      await ensurePrivateDir(dir);
    const state = undo.use(await openDurableState(paths, { quarantineMs: valid.addressQuarantineMs }));
    const forkServer = valid.forkServer
      ? undo.use(ForkServer.start({ binary: qemu.path, libraryDir: paths.nativeLibraries, logger }))
      : undefined;
    const deps = { paths, qemu, logger, failpoint, forkServer };
    const pool = new Pool({ deps, options: valid, state }, undo.move());
    try {
      await takeOver(pool.#parts);
      await recoverDocks(valid.docks, { ...pool.#parts, ...deps, ...state });
      return pool;
    } catch (error) {
      await pool.close({ vms: "keep" });
      throw error;
    }
  }

  /** The VMs that were handed out and have not ended. */
  get vms(): readonly Vm[] {
    return this.#parts.vms.all;
  }

  /** What happens to VMs, calls, docks and substrates. */
  get events(): EventSource<PoolEvents> {
    return this.#parts.events;
  }

  /** What the clones of this pool take, docked ones included. */
  get memory(): MemoryUse {
    return this.#parts.memory.use;
  }

  /** Identity values (addresses, MACs, host names) that clones hold, and addresses that are given to nobody for a while. */
  get leases(): LeaseUse {
    return this.#parts.state.leases.use;
  }

  /** The substrates in the catalog. @throws VmSubstrateError SUBSTRATE_CORRUPT, POOL_CLOSED */
  async substrates(): Promise<SubstrateInfo[]> {
    this.#calls.requireOpen();
    return (await this.#parts.catalog.list()).map(substrateInfo);
  }

  /**
   * Makes a substrate by a recipe, or finds that the catalog's is up to date. A damaged one is built again.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, RECIPE_*, BUILD_FAILED, INSUFFICIENT_*, ABORTED, POOL_CLOSED
   */
  async build(options: BuildOptions): Promise<SubstrateInfo & { readonly reused: boolean }> {
    const {
      recipe: builtIn,
      recipeFile,
      signal,
      onProgress,
      ...given
    } = validate(buildOptionsSchema, options, "build");
    const named = builtIn === undefined ? undefined : { name: builtIn, recipe: recipeNamed(builtIn) };
    return this.#calls.run(signal, async (within) => {
      const { recipe, name: itsName } = named ?? (await recipeFromFile(recipeFile ?? ""));
      const name =
        given.name ??
        validate(
          nameSchema,
          itsName,
          `build: name "${itsName}" of ${recipeFile ?? builtIn} (or give another by \`name\`)`,
        );
      const { substrate, reused } = await this.#parts.builds.build(name, recipe, onProgress, within);
      using use = await this.#parts.loaded.use({ name, version: undefined }, "build");
      await this.#parts.docks.renew(use.loaded);
      return { ...substrateInfo(substrate), reused };
    });
  }

  /**
   * Keeps clones of a substrate ready, paused in memory, to be claimed by `activate`. Returns at once; `docked` waits.
   * A second call changes the target. A new version of the substrate replaces the clones of the old one, unless `name` has a
   * version of its own ("mini@3"). It is recorded, for an owner that opens with `docks: "restore"`.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, SUBSTRATE_*, INSUFFICIENT_SHARED_MEMORY, STORE_UNWRITABLE, POOL_CLOSED
   */
  async dock(name: string, options: DockOptions): Promise<DockStatus> {
    const reference = validate(referenceSchema, name, "dock: name");
    const valid = validate(dockOptionsSchema, options, "dock");
    return this.#calls.run(undefined, async () => {
      using _ = await this.#parts.loaded.use(reference, "dock"); // what cannot be docked is not recorded
      return this.#parts.docks.keep(reference, dockTarget(reference, valid));
    });
  }

  /**
   * Takes a dock away, and ends its waiting clones. Quietly nothing when there is no such dock, so that it can be repeated.
   *
   * @returns whether there was one, when its clones have ended
   * @throws VmSubstrateError INVALID_ARGUMENT, STORE_UNWRITABLE, POOL_CLOSED
   */
  async undock(name: string): Promise<boolean> {
    const reference = validate(referenceSchema, name, "undock: name");
    return this.#calls.run(undefined, () => this.#parts.docks.undock(reference));
  }

  /**
   * Resolves when `count` clones of a substrate wait in its dock.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT when there is no such dock or it is never that deep, TIMEOUT, ABORTED, POOL_CLOSED
   */
  async docked(
    name: string,
    options: { count: number; timeoutMs?: number; signal?: AbortSignal },
  ): Promise<DockStatus> {
    const reference = validate(referenceSchema, name, "docked: name");
    const { count, timeoutMs, signal } = validate(dockedOptionsSchema, options, "docked");
    return this.#calls.run(signal, (within) => this.#parts.docks.awaitReady(reference, count, timeoutMs, within));
  }

  /**
   * Writes a substrate into one file, a tar compressed with zstd, which takes the place of one that is there.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT, INSUFFICIENT_DISK, HOST_IO_FAILED,
   *   ABORTED, POOL_CLOSED
   */
  async exportSubstrate(substrate: string, file: string, options: ExportOptions = {}): Promise<ExportedSubstrate> {
    const call = exportCall(substrate, file, options);
    return this.#calls.run(call.signal, (signal) => this.#parts.substrates.export({ ...call, signal }));
  }

  /**
   * Takes a substrate from a file of `exportSubstrate` into the catalog, as the next version of its name. It is verified
   * before it can be seen. The same content again is the version that is there.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, SUBSTRATE_ARCHIVE_INVALID, SUBSTRATE_INCOMPATIBLE, INSUFFICIENT_DISK,
   *   HOST_IO_FAILED, ABORTED, POOL_CLOSED
   */
  async importSubstrate(
    file: string,
    options: ImportOptions = {},
  ): Promise<SubstrateInfo & { readonly reused: boolean }> {
    const call = importCall(file, options);
    return this.#calls.run(call.signal, (signal) => this.#parts.substrates.import({ ...call, signal }));
  }

  /**
   * Removes one version ("mini@3", "mini@latest") or, by its bare name, all versions of a substrate; all or none.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, SUBSTRATE_NOT_FOUND, SUBSTRATE_IN_USE, HOST_IO_FAILED, ABORTED, POOL_CLOSED
   */
  async removeSubstrate(substrate: string, options: CallOptions = {}): Promise<SubstrateVersion[]> {
    const call = removeCall(substrate, options);
    return this.#calls.run(call.signal, (signal) => this.#parts.substrates.remove({ ...call, signal }));
  }

  /**
   * Removes old versions that nothing uses. @throws VmSubstrateError INVALID_ARGUMENT, HOST_IO_FAILED, ABORTED, POOL_CLOSED
   */
  async pruneSubstrates(options: PruneOptions): Promise<PruneReport> {
    const call = pruneCall(options);
    return this.#calls.run(call.signal, (signal) => this.#parts.substrates.prune({ ...call, signal }));
  }

  /** Reads every file in the catalog and compares it with its digest. @throws VmSubstrateError INVALID_ARGUMENT, ABORTED, POOL_CLOSED */
  async scrubSubstrates(options: ScrubOptions = {}): Promise<ScrubReport> {
    const call = scrubCall(options);
    return this.#calls.run(call.signal, (signal) => this.#parts.substrates.scrub({ ...call, signal }));
  }

  /** The state of every dock. */
  get docks(): readonly DockStatus[] {
    return this.#parts.docks.statuses;
  }

  /**
   * Makes `count` personal, running, verified VMs of a substrate: from its dock, by cloning, or, with `wait`, when there is room.
   * All or none.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT, SUBSTRATE_INCOMPATIBLE, LEASE_*,
   *   ADDRESS_OUTSIDE_SUBNET, INSUFFICIENT_*, IDENTITY_UNVERIFIED, GUEST_*, QEMU_EXITED, RUN_FAILED, IDEMPOTENCY_KEY_USED,
   *   STORE_UNWRITABLE, TIMEOUT, ABORTED, POOL_CLOSED
   */
  async activate(count: number, spec: ActivateSpec, options: ActivateOptions = {}): Promise<Vm[]> {
    return allVms(await this.#parts.vmCalls.activate(count, spec, options, "atomic"));
  }

  /**
   * As `activate`, but each VM for itself: an outcome for each, in order, with a VM or the error that kept it from being made.
   *
   * @throws VmSubstrateError as `activate`, for what concerns the whole call
   */
  async activateSettled(count: number, spec: ActivateSpec, options: ActivateOptions = {}): Promise<ActivateOutcome[]> {
    return this.#parts.vmCalls.activate(count, spec, options, "settled");
  }

  /**
   * The baseline to compare with: boots `count` VMs from the same disk instead of cloning them, with the same readiness,
   * identity and verification. Takes seconds.
   *
   * @throws VmSubstrateError as `activate`
   */
  async coldBoot(count: number, spec: ActivateSpec, options: ActivateOptions = {}): Promise<Vm[]> {
    return allVms(await this.#parts.vmCalls.coldBoot(count, spec, options));
  }

  /**
   * Compares all that there is of this state directory (processes, folders, sockets, RAM files, records, leases) with what
   * this pool has, and takes the rest away. A running pool has nothing to be taken away; after a fault it puts things right.
   * Of the cache, which all state directories of a user share, it removes what no build has needed for long: disks of recipes,
   * their layers, lists of packages. While another process builds, nothing of that is removed.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, HOST_IO_FAILED, UNSAFE_DIRECTORY, STATE_DIR_DAMAGED, STORE_UNWRITABLE, POOL_CLOSED
   */
  async gc(options: GcOptions = {}): Promise<GcReport> {
    const call = gcCall(options);
    return this.#calls.run(undefined, () => this.#parts.builds.between(() => collect(this.#parts, call)));
  }

  /**
   * Ends every call under way, every docked clone and, unless they are to be kept, every VM, and takes the substrates out of
   * memory. Idempotent: the first call decides.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    const { vms } = validate(closeOptionsSchema, options, "close");
    this.#closed ??= this.#close(vms === "keep");
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(keepVms: boolean): Promise<void> {
    await this.#calls.close();
    // A stack, so that what fails to end does not keep the rest: least of all the owner's lock.
    await using ending = new AsyncDisposableStack();
    ending.use(this.#owned);
    // By the records: when the opening failed there may be VMs that were not taken over.
    const isKept = this.#parts.state.ledger.records.some(({ phase }) => phase === "running" || phase === "parked");
    if (!keepVms || !isKept) {
      const { runtimeDir, sharedMemoryDir } = this.#parts.deps.paths;
      ending.defer(() => rm(runtimeDir, { recursive: true, force: true }));
      ending.defer(() => rm(sharedMemoryDir, { recursive: true, force: true }));
      ending.use(this.#parts.loaded);
    }
    ending.use(this.#parts.zygotes);
    ending.use(this.#parts.docks);
    ending.use(this.#parts.memory);
    ending.use(this.#parts.lifetimes);
    ending.use(this.#parts.health);
    ending.defer(() => settleAll(this.vms.map((vm) => (keepVms ? vm.detach() : vm.release()))));
    ending.use(this.#parts.flattening);
  }
}
