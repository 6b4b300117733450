import { VmSubstrateError } from "../core/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import { Dock, type DockDependencies, type Docked, type DockTarget } from "./dock.ts";
import type { DockStatus } from "./options.ts";

/** The docks of a pool, one for a substrate. */
export class Docks implements AsyncDisposable {
  readonly #deps: Omit<DockDependencies, "idle">;
  readonly #docks = new Map<string, Dock>();
  readonly #whenIdle: (() => void)[] = [];
  #claims = 0;

  constructor(deps: Omit<DockDependencies, "idle">) {
    this.#deps = deps;
  }

  get statuses(): DockStatus[] {
    return [...this.#docks.values()].map((dock) => dock.status);
  }

  /** Sets the target of a substrate's dock, making the dock where there is none. */
  set(substrate: LoadedSubstrate, target: DockTarget): DockStatus {
    const { name } = substrate.manifest;
    const known = this.#docks.get(name);
    known?.setTarget(target);
    const dock = known ?? new Dock(substrate, target, { ...this.#deps, idle: () => this.#idle() });
    this.#docks.set(name, dock);
    return dock.status;
  }

  /** @throws VmSubstrateError INVALID_ARGUMENT when there is no such dock or it is never that deep, TIMEOUT, ABORTED, POOL_CLOSED */
  async awaitReady(name: string, count: number, timeoutMs: number, signal: AbortSignal): Promise<DockStatus> {
    const dock = this.#docks.get(name);
    if (dock === undefined) {
      throw new VmSubstrateError("INVALID_ARGUMENT", `docked: there is no dock of "${name}"; make it by pool.dock`);
    }
    if (dock.status.max < count) throw dock.tooDeep(count);
    try {
      await dock.awaitReady(count, timeoutMs, signal);
      return dock.status;
    } catch (error) {
      // A new version of the substrate has a dock of its own.
      const next = this.#docks.get(name);
      if (next === undefined || next === dock || signal.aborted) throw error;
      return this.awaitReady(name, count, timeoutMs, signal);
    }
  }

  /** The dock of exactly this version. */
  of(substrate: LoadedSubstrate): Dock | undefined {
    const dock = this.#docks.get(substrate.manifest.name);
    return dock?.substrate === substrate ? dock : undefined;
  }

  /** Clones of other docks that hold a value which a claim asks for: nobody has them, so they must not stay. */
  holding(holders: ReadonlySet<string>, but: Dock | undefined): { readonly dock: Dock; readonly docked: Docked }[] {
    return [...this.#docks.values()]
      .filter((dock) => dock !== but)
      .flatMap((dock) => dock.ready.map((docked) => ({ dock, docked })))
      .filter(({ docked }) => holders.has(docked.clone.plan.id));
  }

  /** After a new version was built: its clones instead of the old one's. */
  async renew(substrate: LoadedSubstrate): Promise<void> {
    const { name } = substrate.manifest;
    const old = this.#docks.get(name);
    if (old === undefined || old.substrate === substrate) return;
    this.#docks.delete(name);
    this.set(substrate, old.target);
    await old[Symbol.asyncDispose]();
  }

  /** Runs a claim. Meanwhile no dock starts a clone: refilling never slows a claim down. */
  async undisturbed<T>(claim: () => Promise<T>): Promise<T> {
    this.#claims++;
    try {
      return await claim();
    } finally {
      this.#claims--;
      if (this.#claims === 0) for (const resume of this.#whenIdle.splice(0)) resume();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#docks.values()].map((dock) => dock[Symbol.asyncDispose]()));
  }

  #idle(): Promise<void> {
    return this.#claims === 0 ? Promise.resolve() : new Promise((resolve) => this.#whenIdle.push(resolve));
  }
}
