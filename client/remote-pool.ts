import { resolve } from "node:path";
import type {
  ActivateBody,
  BuildBody,
  DaemonEvent,
  DaemonView,
  EventType,
  ImportBody,
  Outcomes,
  Second,
  VmView,
} from "../api/index.ts";
import type {
  ActivateOptions,
  ActivateSpec,
  BuildOptions,
  CallOptions,
  CloseOptions,
  DockOptions,
  DockStatus,
  DoctorCheck,
  EventSource,
  ExportedSubstrate,
  ExportOptions,
  GcOptions,
  GcReport,
  ImportOptions,
  MemoryUse,
  PruneOptions,
  PruneReport,
  ScrubOptions,
  ScrubReport,
  SubstrateInfo,
  SubstrateVersion,
} from "../lib/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import { EventStream } from "./event-stream.ts";
import { Http, type HttpRequest, type Target } from "./http.ts";
import { Mirror } from "./mirror.ts";
import { OperationCalls } from "./operations.ts";
import type { PoolEventsOf, PoolHandle } from "./pool-handle.ts";
import { errorOf } from "./problem-error.ts";
import { RemoteVm } from "./remote-vm.ts";
import { dockOf, specBody } from "./views.ts";

/** Which VMs. */
export interface VmFilter {
  /** "match=17,tier!=free,region,!old,zone in (a, b)". */
  readonly labels?: string | undefined;
  readonly state?: string | undefined;
  /** "mini", of any version, or "mini@3". */
  readonly substrate?: string | undefined;
}

export interface WatchOptions {
  /** Default: all. */
  readonly types?: readonly EventType[] | undefined;
  /** How many of the last events come first. Default 0. */
  readonly past?: number | undefined;
  /** Default false. */
  readonly follow?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent: (event: Omit<DaemonEvent, "id">) => void;
}

/**
 * A daemon's pool, with the shape of `Pool`. Only its owner is another one: VMs outlive the connection, `close()` ends only that,
 * and `close({ vms: "release" })` also the VMs that were made through it.
 */
export class RemotePool implements PoolHandle {
  readonly #http: Http;
  readonly #operations: OperationCalls;
  readonly #mirror: Mirror;
  readonly #mine = new Set<RemoteVm>();
  #stream: EventStream | undefined;
  #closed: Promise<void> | undefined;

  private constructor(target: Target) {
    this.#http = new Http(target);
    this.#operations = new OperationCalls(this.#http);
    const handleOf = (view: RemoteVmView) => this.#made(view);
    const onReleased = (vm: RemoteVm) => this.#mirror.released(vm);
    this.#mirror = new Mirror({
      make: (view) => new RemoteVm(view, { http: this.#http, operations: this.#operations, handleOf, onReleased }),
      onOperation: (operation) => this.#operations.heard(operation),
    });
    this.events.on("released", (vm) => this.#mine.delete(vm));
    this.events.on("exit", (vm) => this.#mine.delete(vm));
  }

  /** @internal */
  static async connect(target: Target, signal?: AbortSignal): Promise<RemotePool> {
    const pool = new RemotePool(target);
    try {
      const { promise: ready, resolve: onReady, reject: onLost } = Promise.withResolvers<void>();
      ready.catch(() => {});
      const message = (type: string, data: unknown) => {
        pool.#mirror.take(type, data);
        if (type === "snapshot") onReady();
      };
      const lost = (why: string) => onLost(new VmSubstrateError("DAEMON_UNREACHABLE", `the daemon hung up: ${why}`));
      const listener = { message, lost };
      signal?.addEventListener("abort", () => onLost(new VmSubstrateError("ABORTED", "connect: aborted")), {
        once: true,
      });
      pool.#stream = await EventStream.open(pool.#http, { snapshot: true, stats: true }, listener, signal);
      await ready;
      return pool;
    } catch (error) {
      await pool.#stream?.[Symbol.asyncDispose]();
      await pool.#http[Symbol.asyncDispose]();
      throw error;
    }
  }

  get vms(): readonly RemoteVm[] {
    return this.#mirror.vms;
  }

  get events(): EventSource<PoolEventsOf<RemoteVm>> {
    return this.#mirror.events;
  }

  /** As of the last second. */
  get memory(): MemoryUse {
    return this.#mirror.memory;
  }

  get docks(): readonly DockStatus[] {
    return this.#mirror.docks;
  }

  /** The daemon itself. */
  async daemon(): Promise<DaemonView> {
    return this.#ask({ path: "/" });
  }

  /** Whether the daemon's machine can run VMs. */
  async doctor(): Promise<DoctorCheck[]> {
    return this.#ask({ path: "/doctor" });
  }

  /** The last ten minutes, second by second, the oldest first. */
  async stats(): Promise<readonly Second[]> {
    return (await this.#ask<{ seconds: Second[] }>({ path: "/stats" })).seconds;
  }

  /** A VM by its id, its hostname, or a beginning of either that only one has. @throws VmSubstrateError NOT_FOUND, VM_GONE, INVALID_ARGUMENT */
  async find(name: string): Promise<RemoteVm> {
    return this.#shown(await this.#ask({ path: `/vms/${part(name)}` }));
  }

  /** The VMs that all of the filter holds for, the oldest first. @throws VmSubstrateError INVALID_ARGUMENT */
  async list({ labels, state, substrate }: VmFilter = {}): Promise<RemoteVm[]> {
    const vms: RemoteVm[] = [];
    let cursor: string | undefined;
    do {
      const query = { labels, state, substrate, cursor };
      const page = await this.#ask<{ items: VmView[]; next?: string }>({ path: "/vms", query });
      vms.push(...page.items.map((view) => this.#shown(view)));
      cursor = page.next;
    } while (cursor !== undefined);
    return vms;
  }

  /**
   * Tells of events as the daemon's log has them: the last ones, and with `follow` those to come until the signal fires, also
   * when the connection is lost in between. Resolves at the end.
   */
  async watch({ types, past = 0, follow = false, signal, onEvent }: WatchOptions): Promise<void> {
    this.#requireOpen();
    const isAborted = () => signal?.aborted === true;
    if (isAborted()) return;
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    const message = (type: string, data: unknown) => {
      if (type !== "snapshot") onEvent(data as Omit<DaemonEvent, "id">);
    };
    const lost = () => {
      if (!follow) end();
    };
    const query = { past, follow, ...(types === undefined ? {} : { types: types.join(",") }) };
    await using undo = new AsyncDisposableStack();
    undo.use(await EventStream.open(this.#http, query, { message, lost }, signal));
    signal?.addEventListener("abort", () => end(), { once: true });
    if (isAborted()) end();
    await over;
  }

  async substrates(): Promise<SubstrateInfo[]> {
    return this.#ask({ path: "/substrates" });
  }

  async build({ recipe, recipeFile, name, signal, onProgress }: BuildOptions) {
    const body: BuildBody = { recipe, name, recipeFile: recipeFile === undefined ? undefined : resolve(recipeFile) };
    return this.#run<Built>({ path: "/substrates", body, signal, onProgress });
  }

  async dock(name: string, options: DockOptions): Promise<DockStatus> {
    const status = dockOf(await this.#ask({ method: "PUT", path: `/docks/${part(name)}`, body: options }));
    this.#mirror.setDock(status);
    return status;
  }

  async docked(
    name: string,
    options: { count: number; timeoutMs?: number; signal?: AbortSignal },
  ): Promise<DockStatus> {
    const { count: ready, timeoutMs, signal } = options;
    return dockOf(await this.#ask({ path: `/docks/${part(name)}`, query: { ready, timeoutMs }, signal }));
  }

  async undock(name: string): Promise<boolean> {
    const { undocked } = await this.#ask<{ undocked: boolean }>({ method: "DELETE", path: `/docks/${part(name)}` });
    this.#mirror.forgetDock(name);
    return undocked;
  }

  /** The file is one of the daemon's machine; so it is for a daemon on a socket only. */
  async exportSubstrate(substrate: string, file: string, options: ExportOptions = {}): Promise<ExportedSubstrate> {
    return this.#run({ path: `/substrates/${part(substrate)}/export`, body: { file: resolve(file) }, ...options });
  }

  /** As `exportSubstrate`. */
  async importSubstrate(file: string, { name, ...options }: ImportOptions = {}) {
    const body: ImportBody = { file: resolve(file), name };
    return this.#run<Built>({ path: "/import", body, ...options });
  }

  async removeSubstrate(substrate: string, { signal }: CallOptions = {}): Promise<SubstrateVersion[]> {
    const request = { method: "DELETE", path: `/substrates/${part(substrate)}`, signal } as const;
    return (await this.#ask<{ removed: SubstrateVersion[] }>(request)).removed;
  }

  async pruneSubstrates({ keep, signal }: PruneOptions): Promise<PruneReport> {
    return this.#ask({ method: "POST", path: "/prune", body: { keep }, signal });
  }

  async scrubSubstrates({ maxMiBPerSecond, ...options }: ScrubOptions = {}): Promise<ScrubReport> {
    return this.#run({ path: "/scrub", body: { maxMiBPerSecond }, ...options });
  }

  async activate(count: number, spec: ActivateSpec, options: ActivateOptions = {}): Promise<RemoteVm[]> {
    return vmsOf(await this.#activate({ count, spec: specBody(spec) }, spec, options));
  }

  async activateSettled(count: number, spec: ActivateSpec, options: ActivateOptions = {}) {
    return this.#activate({ count, mode: "settled", spec: specBody(spec) }, spec, options);
  }

  async coldBoot(count: number, spec: ActivateSpec, options: ActivateOptions = {}): Promise<RemoteVm[]> {
    return vmsOf(await this.#activate({ count, coldBoot: true, spec: specBody(spec) }, spec, options));
  }

  async gc({ cacheUnusedForMs, cacheMaxMiB }: GcOptions = {}): Promise<GcReport> {
    return this.#ask({ method: "POST", path: "/gc", body: { cacheUnusedForMs, cacheMaxMiB } });
  }

  /** Ends the connection; VMs go on, unless those that were made through it are to be released. */
  async close({ vms = "keep" }: CloseOptions = {}): Promise<void> {
    this.#closed ??= this.#close(vms);
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(vms: "keep" | "release"): Promise<void> {
    const ended = vms === "release" ? await Promise.allSettled([...this.#mine].map((vm) => vm.release())) : [];
    await this.#stream?.[Symbol.asyncDispose]();
    await this.#http[Symbol.asyncDispose]();
    for (const vm of this.vms) vm.ended("detached");
    for (const one of ended) if (one.status === "rejected") throw one.reason;
  }

  async #activate(call: ActivateBody, { idempotencyKey }: ActivateSpec, { signal, callId }: ActivateOptions) {
    const body: ActivateBody = { ...call, callId };
    const headers = { "idempotency-key": idempotencyKey };
    const { outcomes } = await this.#run<Outcomes>({ path: "/vms", body, headers, signal });
    return outcomes.map((one) => {
      if ("error" in one) return { error: errorOf(one.error) };
      return { vm: this.#made(one.vm) };
    });
  }

  #shown(view: RemoteVmView): RemoteVm {
    const vm = this.#mirror.handleOf(view);
    vm.follow(view);
    return vm;
  }

  #made(view: RemoteVmView): RemoteVm {
    const vm = this.#mirror.handleOf(view);
    if (!vm.isGone) this.#mine.add(vm);
    return vm;
  }

  async #ask<Result>(request: HttpRequest): Promise<Result> {
    this.#requireOpen();
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the route's schema
    return (await this.#http.request(request)).json() as Result;
  }

  async #run<Result>(call: Parameters<OperationCalls["run"]>[0]): Promise<Result> {
    this.#requireOpen();
    return this.#operations.run<Result>(call);
  }

  #requireOpen(): void {
    if (this.#closed !== undefined)
      throw new VmSubstrateError("POOL_CLOSED", "the connection was closed; connect again");
  }
}

type Built = SubstrateInfo & { readonly reused: boolean };
type RemoteVmView = ConstructorParameters<typeof RemoteVm>[0];

function vmsOf(outcomes: readonly ({ readonly vm: RemoteVm } | { readonly error: VmSubstrateError })[]): RemoteVm[] {
  return outcomes.map((one) => {
    if ("error" in one) throw one.error;
    return one.vm;
  });
}

/** One segment of a path: "mini@3". */
function part(name: string): string {
  return encodeURIComponent(name);
}
