import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename } from "node:path";
import type { z } from "zod";
import { activateClone, type CloneDependencies, coldBoot, type OnFailpoint, type Vm } from "../clone/index.ts";
import { type EventSource, MIB, silentLogger, VmSubstrateError, validate, withDeadlineAndUndo } from "../core/index.ts";
import {
  ensurePrivateDir,
  ForkServer,
  identifyQemu,
  monotonicMs,
  Paths,
  processMemory,
  sharedMemory,
} from "../host/index.ts";
import { OwnerLock } from "../store/index.ts";
import { Catalog, prepareGuest, recipeNamed } from "../substrate/index.ts";
import { activationCall, type CallKind, defaultHostname } from "./activation-call.ts";
import { Activations, type Outcome, type StartVm } from "./activations.ts";
import { Builds } from "./builds.ts";
import { Calls } from "./calls.ts";
import { makeDocked } from "./docking.ts";
import { Docks } from "./docks.ts";
import { type DurableState, openDurableState } from "./durable-state.ts";
import { HandedOut } from "./handed-out.ts";
import { Health } from "./health.ts";
import { identityTemplate } from "./identity-template.ts";
import { collectGarbage, type GcReport } from "./inventory.ts";
import { Lifetimes } from "./lifetimes.ts";
import { LoadedSubstrates } from "./loaded-substrates.ts";
import { Memory, type MemoryUse } from "./memory.ts";
import type {
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
import { recover } from "./recovery.ts";
import { callDigest, type Made, used } from "./requests.ts";
import {
  buildOptionsSchema,
  callOptionsSchema,
  closeOptionsSchema,
  dockedOptionsSchema,
  dockOptionsSchema,
  MAX_VMS_PER_ACTIVATION,
  nameSchema,
  poolOptionsSchema,
} from "./schemas.ts";
import { type SubstrateInfo, substrateInfo } from "./substrate-info.ts";
import { Unsettled } from "./unsettled.ts";
import { VmOwners } from "./vm-owners.ts";
import { WaitingLine } from "./waiting-line.ts";

/** For each sign of life of a VM. */
const HEARTBEAT_TIMEOUT_MS = 5000;

/** What is for tests of this project alone. */
export interface PoolInternals {
  readonly failpoint?: OnFailpoint;
}

interface PoolParts {
  readonly deps: CloneDependencies;
  readonly options: z.output<typeof poolOptionsSchema>;
  readonly state: DurableState;
  readonly owned: AsyncDisposableStack;
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
  readonly #deps: CloneDependencies;
  readonly #state: DurableState;
  readonly #owned: AsyncDisposableStack;
  readonly #catalog: Catalog;
  readonly #loaded: LoadedSubstrates;
  readonly #builds: Builds;
  readonly #docks: Docks;
  readonly #memory: Memory;
  readonly #lifetimes: Lifetimes;
  readonly #health: Health;
  readonly #owners: VmOwners;
  readonly #activations: Activations;
  readonly #line = new WaitingLine();
  readonly #vms: HandedOut;
  /** Ids of clones that are being made, docked, claimed or taken back. */
  readonly #working = new Set<string>();
  readonly #calls = new Calls();
  #closed: Promise<void> | undefined;

  private constructor({ deps, options, state, owned }: PoolParts) {
    const { paths, qemu, logger, failpoint } = deps;
    const parallelStarts = options.parallelStarts ?? availableParallelism();
    const { accelerator } = options;
    this.#deps = deps;
    this.#state = state;
    this.#owned = owned;
    this.#catalog = new Catalog(paths);
    this.#loaded = new LoadedSubstrates(this.#catalog, paths, qemu, this.#calls.closing);
    this.#builds = new Builds({ ...deps, accelerator: accelerator === "auto" ? undefined : accelerator }, this.#loaded);
    const budgetBytes = options.memoryMiB === undefined ? undefined : options.memoryMiB * MIB;
    this.#memory = new Memory({ budgetBytes, measure: processMemory });
    this.#lifetimes = new Lifetimes(monotonicMs, logger);
    this.#vms = new HandedOut({ ...state, memory: this.#memory, lifetimes: this.#lifetimes });
    const vms = () => this.vms;
    this.#health = new Health({ intervalMs: options.heartbeatMs, timeoutMs: HEARTBEAT_TIMEOUT_MS, vms });
    this.#owners = new VmOwners({
      ...state,
      lifetimes: this.#lifetimes,
      failpoint,
      vm: (id) => this.#vms.get(id),
      onGone: (id) => {
        this.#vms.forget(id);
        this.#line.notify();
      },
    });
    const unsettled = new Unsettled();
    const docking = { ...deps, ...state, memory: this.#memory, working: this.#working, unsettled };
    this.#docks = new Docks({
      start: (substrate, target, signal) => makeDocked(substrate, target, signal, docking),
      meanBytes: (ids) => this.#memory.meanBytes(ids),
      parallelStarts,
      logger,
    });
    this.#activations = new Activations({
      ...state,
      substrate: (name) => this.#loaded.get(name),
      docks: this.#docks,
      memory: this.#memory,
      line: this.#line,
      owners: this.#owners,
      working: this.#working,
      unsettled,
      parallelStarts,
      failpoint,
      onWaiting: ({ substrateName, count }, position) =>
        this.#vms.announceWaiting({ substrate: substrateName, count, position }),
      onHandedOver: (vm) => this.#vms.handOver(vm),
    });
  }

  /**
   * Opens a state directory, making it where it is missing. VMs that an earlier owner has handed out are taken over: they are
   * in `vms`. Whatever else it left is cleared away.
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
    const pool = new Pool({ deps, options: valid, state, owned: undo.move() });
    try {
      await pool.#recover();
      return pool;
    } catch (error) {
      await pool.close({ vms: "keep" });
      throw error;
    }
  }

  /** The VMs that were handed out and have not ended. */
  get vms(): readonly Vm[] {
    return this.#vms.all;
  }

  /** What happens to VMs and calls. */
  get events(): EventSource<PoolEvents> {
    return this.#vms.events;
  }

  /** What the clones of this pool take, docked ones included. */
  get memory(): MemoryUse {
    return this.#memory.use;
  }

  /** The substrates in the catalog. @throws VmSubstrateError SUBSTRATE_CORRUPT, POOL_CLOSED */
  async substrates(): Promise<SubstrateInfo[]> {
    this.#calls.requireOpen();
    return (await this.#catalog.list()).map(substrateInfo);
  }

  /**
   * Makes a substrate by a recipe, or finds that the catalog's is up to date. A damaged one is built again.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, RECIPE_*, BUILD_FAILED, INSUFFICIENT_*, ABORTED, POOL_CLOSED
   */
  async build(options: BuildOptions): Promise<SubstrateInfo & { readonly reused: boolean }> {
    const {
      recipe: recipeName,
      name = recipeName,
      signal,
      onProgress,
    } = validate(buildOptionsSchema, options, "build");
    const recipe = recipeNamed(recipeName);
    return this.#calls.run(signal, async (within) => {
      const { substrate, reused } = await this.#builds.build(name, recipe, onProgress, within);
      await this.#docks.renew(await this.#loaded.get(name));
      return { ...substrateInfo(substrate), reused };
    });
  }

  /**
   * Keeps clones of a substrate ready, paused in memory, to be claimed by `activate`. Returns at once; `docked` waits.
   * A second call changes the target; a new version of the substrate replaces the clones of the old one.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, SUBSTRATE_*, INSUFFICIENT_SHARED_MEMORY, POOL_CLOSED
   */
  async dock(name: string, options: DockOptions): Promise<DockStatus> {
    validate(nameSchema, name, "dock: name");
    const valid = validate(dockOptionsSchema, options, "dock");
    const { min, maxMiB, primed, network } = valid;
    const max = valid.max ?? (maxMiB === undefined ? min : MAX_VMS_PER_ACTIVATION);
    const template = identityTemplate(valid.hostname ?? defaultHostname(name), network, "none");
    const target = { min, max, maxMiB, primed, template };
    return this.#calls.run(undefined, async () => this.#docks.set(await this.#loaded.get(name), target));
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
    validate(nameSchema, name, "docked: name");
    const { count, timeoutMs, signal } = validate(dockedOptionsSchema, options, "docked");
    return this.#calls.run(signal, (within) => this.#docks.awaitReady(name, count, timeoutMs, within));
  }

  /** The state of every dock. */
  get docks(): readonly DockStatus[] {
    return this.#docks.statuses;
  }

  /**
   * Makes `count` personal, running, verified VMs of a substrate: from its dock, by cloning, or, with `wait`, when there is room.
   * All or none.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT, SUBSTRATE_INCOMPATIBLE, LEASE_*,
   *   ADDRESS_OUTSIDE_SUBNET, INSUFFICIENT_*, IDENTITY_UNVERIFIED, GUEST_*, QEMU_EXITED, RUN_FAILED, IDEMPOTENCY_KEY_USED,
   *   STORE_UNWRITABLE, TIMEOUT, ABORTED, POOL_CLOSED
   */
  async activate(count: number, spec: ActivateSpec, options: CallOptions = {}): Promise<Vm[]> {
    return allVms(await this.#claimOrClone(count, spec, options, "atomic"));
  }

  /**
   * As `activate`, but each VM for itself: an outcome for each, in order, with a VM or the error that kept it from being made.
   *
   * @throws VmSubstrateError as `activate`, for what concerns the whole call
   */
  async activateSettled(count: number, spec: ActivateSpec, options: CallOptions = {}): Promise<ActivateOutcome[]> {
    return this.#claimOrClone(count, spec, options, "settled");
  }

  /**
   * The baseline to compare with: boots `count` VMs from the same disk instead of cloning them, with the same readiness,
   * identity and verification. Takes seconds.
   *
   * @throws VmSubstrateError as `activate`
   */
  async coldBoot(count: number, spec: ActivateSpec, options: CallOptions = {}): Promise<Vm[]> {
    const start: StartVm = async (plan, substrate, activation) => {
      const recipe = recipeNamed(substrate.manifest.guest.recipe);
      const guest = await prepareGuest(recipe, this.#deps.paths, () => {}, activation.signal);
      const startedAt = performance.now(); // neither the wait nor the making of guest files is part of a boot
      return coldBoot(plan, substrate, guest, { ...activation, startedAt, plannedAt: startedAt }, this.#deps);
    };
    return allVms(await this.#make({ what: "coldBoot", mode: "atomic", start }, count, spec, options));
  }

  /**
   * Compares all that there is of this state directory (processes, folders, sockets, RAM files, records, leases) with what
   * this pool has, and takes the rest away. A running pool has nothing to be taken away; after a fault it puts things right.
   *
   * @throws VmSubstrateError STORE_UNWRITABLE, POOL_CLOSED
   */
  async gc(): Promise<GcReport> {
    return this.#calls.run(undefined, () => this.#builds.between(() => this.#collectGarbage()));
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
    if (!keepVms || this.#state.ledger.records.length === 0) {
      const { runtimeDir, sharedMemoryDir } = this.#deps.paths;
      ending.defer(() => rm(runtimeDir, { recursive: true, force: true }));
      ending.defer(() => rm(sharedMemoryDir, { recursive: true, force: true }));
      ending.use(this.#loaded);
    }
    ending.use(this.#docks);
    ending.use(this.#memory);
    ending.use(this.#lifetimes);
    ending.use(this.#health);
    ending.defer(() => settleAll(this.vms.map((vm) => (keepVms ? vm.detach() : vm.release()))));
  }

  async #claimOrClone(
    count: number,
    spec: ActivateSpec,
    options: CallOptions,
    mode: "atomic" | "settled",
  ): Promise<Outcome[]> {
    const start: StartVm = (plan, substrate, activation) => activateClone(plan, substrate, activation, this.#deps);
    return this.#docks.undisturbed(() => this.#make({ what: "activate", mode, start }, count, spec, options));
  }

  async #make(kind: CallKind, count: number, spec: ActivateSpec, options: CallOptions): Promise<Outcome[]> {
    const { what, mode } = kind;
    const { call, timeoutMs } = activationCall(kind, count, spec);
    validate(callOptionsSchema, options, what);
    const { idempotencyKey: key } = call;
    return this.#calls.run(options.signal, (callSignal) => {
      const run = () =>
        withDeadlineAndUndo(
          { what, timeoutMs, signal: callSignal },
          (signal) => this.#activations.run({ ...call, signal }),
          (outcomes) => this.#takeBack(outcomes, key),
        );
      if (key === undefined) return run();
      const again = (made: readonly Made[]) => this.#again(key, made);
      return this.#state.requests.once(key, callDigest(what, mode, count, spec), run, again);
    });
  }

  /** A call that was ended when its VMs were there already: it failed, and its key is free again. */
  async #takeBack(outcomes: readonly Outcome[], key: string | undefined): Promise<void> {
    await settleAll(allVms(outcomes).map((vm) => vm.release()));
    await this.#state.ledger.commit({ writes: this.#state.requests.undone(key) });
  }

  /** The outcome of a call that is repeated. */
  #again(key: string, made: readonly Made[]): Outcome[] {
    return made.map((one) => {
      if (typeof one !== "string") return { error: new VmSubstrateError(one.code, one.message) };
      const vm = this.#vms.get(one);
      if (vm === undefined) throw used(key, "belongs to a call whose VMs are gone");
      return { vm };
    });
  }

  async #recover(): Promise<void> {
    const { vms, lost, removed } = await recover({ ...this.#deps, ...this.#state, owners: this.#owners });
    for (const vm of vms) this.#vms.takeOver(vm);
    const { logger } = this.#deps;
    if (vms.length > 0) logger.info({ vms: vms.length }, "took over VMs of an earlier owner");
    if (removed > 0) logger.warn({ clones: removed }, "ended clones that an earlier owner had not handed out");
    if (lost.length > 0) logger.warn({ vms: lost.map(({ id }) => id) }, "VMs have ended while nobody owned them");
    await this.#catalog.removeAbandoned();
    await this.#collectGarbage();
  }

  async #collectGarbage(): Promise<GcReport> {
    return collectGarbage({
      ...this.#deps,
      ...this.#state,
      owners: this.#owners,
      ramFiles: await this.#ramFiles(),
      isAlive: (id) => this.#vms.has(id) || this.#working.has(id),
    });
  }

  /** The RAM of substrates in the catalog: loaded, or left by an earlier owner, whose VMs may map it. */
  async #ramFiles(): Promise<Set<string>> {
    const substrates = await this.#catalog.list().catch(() => []); // a damaged one is nobody's reason not to open
    return new Set(
      substrates.map(({ manifest: { name, version } }) => basename(this.#deps.paths.loadedRam(name, version))),
    );
  }
}
