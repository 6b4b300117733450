import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { z } from "zod";
import {
  type ActivateOptions,
  activateClone,
  type ClonePlan,
  coldBoot,
  dockClone,
  planClones,
  type Vm,
} from "../clone/index.ts";
import {
  isVmSubstrateError,
  type Logger,
  MIB,
  silentLogger,
  throwIfAborted,
  VmSubstrateError,
  validate,
  withDeadlineAndUndo,
} from "../core/index.ts";
import {
  type Accelerator,
  ensurePrivateDir,
  identifyQemu,
  Paths,
  type QemuBinary,
  requireMemory,
  sharedMemory,
} from "../host/index.ts";
import { Fabrics, HostnamePattern, LeaseBook, planAddresses } from "../netcfg/index.ts";
import { OwnerLock } from "../store/index.ts";
import { Catalog, type LoadedSubstrate, prepareGuest, recipeNamed } from "../substrate/index.ts";
import { allOrNothing } from "./bounded.ts";
import { Builds } from "./builds.ts";
import { Docks } from "./docks.ts";
import { clearLeftovers } from "./leftovers.ts";
import { LoadedSubstrates } from "./loaded-substrates.ts";
import type { ActivateSpec, BuildOptions, CallOptions, DockOptions, DockStatus, PoolOptions } from "./options.ts";
import {
  activateSpecSchema,
  buildOptionsSchema,
  callOptionsSchema,
  countSchema,
  dockedOptionsSchema,
  dockOptionsSchema,
  nameSchema,
  poolOptionsSchema,
} from "./schemas.ts";
import { type SubstrateInfo, substrateInfo } from "./substrate-info.ts";

/** Private memory that a running clone comes to, for admission; measured Pss is in docs/SPECIFICATION.md. */
const CLONE_MEMORY_BYTES = 64 * MIB;

/** One call that makes VMs, validated. */
interface Making {
  readonly what: string;
  readonly count: number;
  readonly spec: z.output<typeof activateSpecSchema>;
  readonly startedAt: number;
  readonly signal: AbortSignal;
}

/** How one VM is made: by claiming or cloning, or by booting. */
type Start = (parts: {
  readonly plan: ClonePlan;
  readonly substrate: LoadedSubstrate;
  readonly activation: ActivateOptions;
}) => Promise<Vm>;

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
  readonly #paths: Paths;
  readonly #qemu: QemuBinary;
  readonly #logger: Logger;
  readonly #parallelStarts: number;
  readonly #catalog: Catalog;
  readonly #owned: AsyncDisposableStack;
  readonly #loaded: LoadedSubstrates;
  readonly #builds: Builds;
  readonly #docks: Docks;
  readonly #leases = new LeaseBook();
  readonly #fabrics = new Fabrics();
  readonly #vms = new Map<string, Vm>();
  /** Fires when the pool closes, so that calls under way end first. */
  readonly #closing = new AbortController();
  readonly #calls = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  private constructor(parts: {
    paths: Paths;
    qemu: QemuBinary;
    logger: Logger;
    accelerator: Accelerator | undefined;
    parallelStarts: number;
    owned: AsyncDisposableStack;
  }) {
    this.#paths = parts.paths;
    this.#qemu = parts.qemu;
    this.#logger = parts.logger;
    this.#parallelStarts = parts.parallelStarts;
    this.#owned = parts.owned;
    this.#catalog = new Catalog(parts.paths);
    this.#loaded = new LoadedSubstrates(this.#catalog, parts.paths, parts.qemu, this.#closing.signal);
    this.#builds = new Builds(parts, this.#loaded);
    this.#docks = new Docks({
      start: async (substrate, primed, signal) => {
        await requireMemory(CLONE_MEMORY_BYTES, "a clone for the dock");
        return dockClone(substrate, primed, this.#dependencies(), signal);
      },
      parallelStarts: parts.parallelStarts,
      logger: parts.logger,
    });
  }

  /**
   * Opens a state directory, making it where it is missing, and clears away what a killed owner left.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, STATE_DIR_LOCKED, UNSAFE_DIRECTORY, QEMU_MISSING, QEMU_UNSUPPORTED, PATH_TOO_LONG,
   *   INSUFFICIENT_SHARED_MEMORY when there is no such directory
   */
  static async open(options: PoolOptions = {}): Promise<Pool> {
    const valid = validate(poolOptionsSchema, options, "Pool.open");
    const { logger = silentLogger } = valid;
    const qemu = await identifyQemu(valid.qemu);
    const paths = new Paths(valid);
    paths.vm("x".repeat(12)); // a runtime directory too deep for a socket is refused now, not at the first VM
    const { isTmpfs } = await sharedMemory(paths.sharedMemoryRoot);
    if (!isTmpfs) logger.warn({ dir: paths.sharedMemoryRoot }, "not a tmpfs: RAM files there are as slow as its disk");
    await using undo = new AsyncDisposableStack();
    await ensurePrivateDir(paths.stateDir);
    undo.use(OwnerLock.acquire(paths.ownerLock, paths.stateDir));
    // Only by the owner: a pool that is refused makes nothing.
    for (const dir of [paths.runtimeDir, paths.sharedMemoryDir]) {
      undo.defer(() => rm(dir, { recursive: true, force: true }));
      await ensurePrivateDir(dir);
    }
    for (const dir of [paths.substrates, paths.vms]) await ensurePrivateDir(dir);
    await clearLeftovers(paths, new Catalog(paths), logger);
    return new Pool({
      paths,
      qemu,
      logger,
      accelerator: valid.accelerator === "auto" ? undefined : valid.accelerator,
      parallelStarts: valid.parallelStarts ?? availableParallelism(),
      owned: undo.move(),
    });
  }

  /** The VMs that are running. */
  get vms(): readonly Vm[] {
    return [...this.#vms.values()];
  }

  /** The substrates in the catalog. @throws VmSubstrateError SUBSTRATE_CORRUPT, POOL_CLOSED */
  async substrates(): Promise<SubstrateInfo[]> {
    this.#requireOpen();
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
    return this.#call(signal, async (within) => {
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
    const { min, max = min, primed } = validate(dockOptionsSchema, options, "dock");
    return this.#call(undefined, async () => this.#docks.set(await this.#loaded.get(name), { min, max, primed }));
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
    return this.#call(signal, (within) => this.#docks.awaitReady(name, count, timeoutMs, within));
  }

  /** The state of every dock. */
  get docks(): readonly DockStatus[] {
    return this.#docks.statuses;
  }

  /**
   * Makes `count` personal, running, verified VMs of a substrate. All or none: if one fails, none stays.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, SUBSTRATE_NOT_FOUND, SUBSTRATE_CORRUPT, SUBSTRATE_INCOMPATIBLE, LEASE_*,
   *   ADDRESS_OUTSIDE_SUBNET, INSUFFICIENT_*, IDENTITY_UNVERIFIED, GUEST_*, QEMU_EXITED, TIMEOUT, ABORTED, POOL_CLOSED
   */
  async activate(count: number, spec: ActivateSpec, options: CallOptions = {}): Promise<Vm[]> {
    return this.#docks.undisturbed(() =>
      this.#make("activate", count, spec, options, ({ plan, substrate, activation }) =>
        activateClone(plan, substrate, activation, this.#dependencies()),
      ),
    );
  }

  /**
   * The baseline to compare with: boots `count` VMs from the same disk instead of cloning them, with the same readiness,
   * identity and verification. Takes seconds.
   *
   * @throws VmSubstrateError as `activate`
   */
  async coldBoot(count: number, spec: ActivateSpec, options: CallOptions = {}): Promise<Vm[]> {
    return this.#make("coldBoot", count, spec, options, async ({ plan, substrate, activation }) => {
      const recipe = recipeNamed(substrate.manifest.guest.recipe);
      const guest = await prepareGuest(recipe, this.#paths, () => {}, activation.signal);
      const startedAt = performance.now(); // neither the wait nor the making of guest files is part of a boot
      return coldBoot(plan, substrate, guest, { ...activation, startedAt, plannedAt: startedAt }, this.#dependencies());
    });
  }

  /** Ends every VM and every call under way, and takes the substrates out of memory. Idempotent. */
  async close(): Promise<void> {
    this.#closed ??= (async () => {
      this.#closing.abort(new VmSubstrateError("POOL_CLOSED", "the pool was closed meanwhile"));
      await Promise.allSettled(this.#calls);
      // A stack, so that what fails to end does not keep the rest: least of all the owner's lock.
      await using ending = new AsyncDisposableStack();
      ending.use(this.#owned);
      ending.use(this.#loaded);
      ending.use(this.#docks);
      ending.defer(() => releaseAll(this.vms));
    })();
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #make(what: string, count: number, spec: ActivateSpec, options: CallOptions, start: Start): Promise<Vm[]> {
    const startedAt = performance.now();
    const validCount = validate(countSchema, count, `${what}: count`);
    const validSpec = validate(activateSpecSchema, spec, what);
    validate(callOptionsSchema, options, what);
    const { timeoutMs } = validSpec;
    return this.#call(options.signal, (callSignal) =>
      withDeadlineAndUndo(
        { what, timeoutMs, signal: callSignal },
        (signal) => this.#makeAll({ what, count: validCount, spec: validSpec, startedAt, signal }, start),
        releaseAll,
      ),
    );
  }

  async #makeAll(call: Making, start: Start): Promise<Vm[]> {
    const { what, count, spec, startedAt, signal } = call;
    const { subnet, addresses, fabric } = spec.network;
    const hostname = spec.hostname ?? HostnamePattern.parse(`${spec.substrate}-{index}`);
    const substrate = await this.#loaded.get(spec.substrate);
    const fromDock = what === "activate" && spec.channel === "helper";
    // Docked clones have their memory already.
    const launched = count - Math.min(count, fromDock ? this.#docks.ready(substrate) : 0);
    if (launched > 0) await requireMemory(launched * CLONE_MEMORY_BYTES, `${what} of ${count} VMs`);
    throwIfAborted(signal, what);

    // Planned, leased and claimed in one turn of the event loop: no other call can take the same in between.
    const values = planAddresses(count, { hostname, subnet, addresses }, this.#leases);
    const docked = fromDock ? this.#docks.take(substrate, count) : [];
    const ids = docked.map(({ id }) => id);
    const plans = planClones(values, subnet.prefixLength, this.#fabrics.of(fabric, subnet), ids);
    for (const { id, identity } of plans) this.#leases.lease(id, identity);
    const plannedAt = performance.now();

    const startOne = async (plan: ClonePlan, one: AbortSignal) => {
      const activation: ActivateOptions = {
        channel: spec.channel,
        docked: docked.find(({ id }) => id === plan.id),
        startedAt,
        plannedAt,
        signal: one,
        releaseLeases: () => this.#forget(plan.id),
      };
      const vm = await start({ plan, substrate, activation });
      if (vm.state === "running") this.#vms.set(vm.id, vm);
      return vm;
    };
    try {
      const vms = await allOrNothing(plans, this.#parallelStarts, signal, startOne, (vm) => vm.release());
      return await this.#allRunning(vms);
    } catch (error) {
      // Also those whose turn never came: a clone that was promised once does not go back.
      await Promise.allSettled(docked.map((clone) => clone[Symbol.asyncDispose]()));
      for (const { id } of plans) this.#forget(id);
      throw error;
    }
  }

  /** The first may have ended while the last was still being made. */
  async #allRunning(vms: Vm[]): Promise<Vm[]> {
    const ended = vms.find((vm) => vm.state !== "running");
    if (ended === undefined) return vms;
    await Promise.all(vms.map((vm) => vm.release()));
    throw new VmSubstrateError(
      "QEMU_EXITED",
      `VM ${ended.hostname} ended while others of its call were still being made`,
    );
  }

  #forget(id: string): void {
    this.#vms.delete(id);
    this.#leases.release(id);
  }

  #dependencies() {
    return { paths: this.#paths, qemu: this.#qemu, logger: this.#logger };
  }

  /** Runs a call with a signal that fires for the caller's and for the pool's end; `close` waits for it. */
  async #call<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#requireOpen();
    const both = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    throwIfAborted(both, "call");
    const call = work(both);
    this.#calls.add(call);
    try {
      return await call;
    } catch (error) {
      // Node's own functions reject with the signal's reason as it came, whatever that was.
      if (!isVmSubstrateError(error)) throwIfAborted(both, "call");
      throw error;
    } finally {
      this.#calls.delete(call);
    }
  }

  #requireOpen(): void {
    if (this.#closed !== undefined) throw new VmSubstrateError("POOL_CLOSED", "the pool is closed; open it again");
  }
}

async function releaseAll(vms: readonly Vm[]): Promise<void> {
  const released = await Promise.allSettled(vms.map((vm) => vm.release()));
  for (const one of released) if (one.status === "rejected") throw one.reason;
}
