import { VmSubstrateError } from "../core/index.ts";
import {
  formatReference,
  type LoadedSubstrate,
  parseReference,
  type SubstrateReference,
  type SubstrateVersion,
} from "../substrate/index.ts";
import { Dock, type DockDependencies, type Docked } from "./dock.ts";
import { DockNews } from "./dock-news.ts";
import type { DockRecords } from "./dock-records.ts";
import type { DockTarget } from "./dock-target.ts";
import type { SubstrateUse } from "./loaded-substrates.ts";
import type { DockStatus } from "./options.ts";
import type { Announcer } from "./pool-events.ts";

export interface DocksDependencies extends Omit<DockDependencies, "idle" | "onChange"> {
  readonly records: DockRecords;
  readonly use: (reference: SubstrateReference) => Promise<SubstrateUse>;
  readonly events: Announcer;
}

/** The docks of a pool: of each substrate one that follows its newest version, and one of each version asked for by number. */
export class Docks implements AsyncDisposable {
  readonly #deps: DocksDependencies;
  readonly #docks = new Map<string, Dock>();
  readonly #news: DockNews;
  /** Records and docks change together, one at a time. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #whenIdle: (() => void)[] = [];
  #claims = 0;

  constructor(deps: DocksDependencies) {
    this.#deps = deps;
    this.#news = new DockNews({
      isCurrent: (dock) => [...this.#docks.values()].includes(dock),
      announce: (status) => deps.events.announce("dock", status),
    });
  }

  get statuses(): DockStatus[] {
    return [...this.#docks.values()].map((dock) => dock.status);
  }

  /**
   * As `set`, recorded first, for a later owner.
   * @throws VmSubstrateError SUBSTRATE_*, STORE_UNWRITABLE
   */
  keep(reference: SubstrateReference, target: DockTarget): Promise<DockStatus> {
    return this.#inTurn(async () => {
      using use = await this.#deps.use(reference);
      await this.#deps.records.put(reference, target);
      return this.set(use.loaded, target);
    });
  }

  /**
   * Takes a dock away with its record, and ends its clones.
   * @returns whether there was one
   * @throws VmSubstrateError STORE_UNWRITABLE
   */
  async undock(reference: SubstrateReference): Promise<boolean> {
    const { isRecorded, dock } = await this.#inTurn(async () => {
      const wasRecorded = await this.#deps.records.remove(reference);
      const removed = this.#remove(formatReference(reference));
      if (removed !== undefined) {
        const { substrate, version, pinned } = removed.status;
        this.#deps.events.announce("undocked", { substrate, version, pinned }); // before anything of another in its place
      }
      return { isRecorded: wasRecorded, dock: removed };
    });
    await dock?.[Symbol.asyncDispose]();
    return isRecorded || dock !== undefined;
  }

  /** Sets the target of a substrate's dock, making the dock where there is none. */
  set(substrate: LoadedSubstrate, target: DockTarget): DockStatus {
    const { name, version } = substrate.manifest;
    const key = formatReference({ name, version: target.pinned ? version : undefined });
    const known = this.#docks.get(key);
    known?.setTarget(target);
    const dock =
      known ??
      new Dock(substrate, target, {
        ...this.#deps,
        idle: () => this.idle(),
        onChange: (one) => this.#news.of(one),
      });
    this.#docks.set(key, dock);
    return dock.status;
  }

  /** @throws VmSubstrateError INVALID_ARGUMENT when there is no such dock or it is never that deep, TIMEOUT, ABORTED, POOL_CLOSED */
  async awaitReady(
    reference: SubstrateReference,
    count: number,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<DockStatus> {
    const key = formatReference(reference);
    const dock = this.#docks.get(key);
    if (dock === undefined) throw noDock(key);
    if (dock.status.max < count) throw dock.tooDeep(count);
    try {
      await dock.awaitReady(count, timeoutMs, signal);
      return dock.status;
    } catch (error) {
      // A new version of the substrate has a dock of its own.
      const next = this.#docks.get(key);
      if (next === dock || signal.aborted) throw error;
      if (next === undefined) throw noDock(key);
      return this.awaitReady(reference, count, timeoutMs, signal);
    }
  }

  /** The dock of exactly this version; of two, one of which follows the newest, that with more clones. */
  of(substrate: LoadedSubstrate): Dock | undefined {
    const docks = [...this.#docks.values()].filter((dock) => dock.substrate === substrate);
    return docks.toSorted((a, b) => b.ready.length - a.ready.length)[0];
  }

  /** Whether a dock has clones of this version, or is to have any. */
  uses({ name, version }: SubstrateVersion): boolean {
    return this.#of({ name, version }).some(([, dock]) => {
      const { ready, starting, max } = dock.status;
      return ready + starting + max > 0;
    });
  }

  /** Whether the newest version of a substrate has a dock. */
  follows(name: string): boolean {
    return this.#docks.has(name);
  }

  /** Takes docks away that are empty for good, of a version that is about to be removed. */
  async forget(version: SubstrateVersion): Promise<void> {
    for (const [key] of this.#of(version)) await this.undock(parseReference(key));
  }

  #remove(key: string): Dock | undefined {
    const dock = this.#docks.get(key);
    this.#docks.delete(key);
    return dock;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const working = this.#last.then(work);
    this.#last = working.catch(() => {});
    return working;
  }

  #of({ name, version }: SubstrateVersion): [string, Dock][] {
    return [...this.#docks].filter(([, dock]) => {
      const { manifest } = dock.substrate;
      return manifest.name === name && manifest.version === version;
    });
  }

  /** Clones of other docks that hold a value which a claim asks for: nobody has them, so they must not stay. */
  holding(holders: ReadonlySet<string>, but: Dock | undefined): { readonly dock: Dock; readonly docked: Docked }[] {
    return [...this.#docks.values()]
      .filter((dock) => dock !== but)
      .flatMap((dock) => dock.ready.map((docked) => ({ dock, docked })))
      .filter(({ docked }) => holders.has(docked.clone.plan.id));
  }

  /** After a new version was built or imported: its clones instead of the old one's. */
  async renew(substrate: LoadedSubstrate): Promise<void> {
    const { name } = substrate.manifest;
    // In turn: a dock that is being set at this moment is of the version that was the newest before.
    const old = await this.#inTurn(async () => {
      if (this.#docks.get(name)?.substrate === substrate) return undefined;
      const dock = this.#remove(name);
      if (dock !== undefined) this.set(substrate, dock.target);
      return dock;
    });
    await old?.[Symbol.asyncDispose]();
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
    using _ = this.#news;
    await Promise.all([...this.#docks.values()].map((dock) => dock[Symbol.asyncDispose]()));
  }

  /** Resolves when no claim is under way. */
  idle(): Promise<void> {
    return this.#claims === 0 ? Promise.resolve() : new Promise((resolve) => this.#whenIdle.push(resolve));
  }
}

function noDock(key: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", `docked: there is no dock of "${key}"; make it by pool.dock`);
}
