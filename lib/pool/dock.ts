import { setTimeout as delay } from "node:timers/promises";
import type { DockedClone } from "../clone/index.ts";
import { isVmSubstrateError, type Logger, MIB, messageOf, VmSubstrateError, withDeadline } from "../core/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import { Breaker } from "./breaker.ts";
import { DEMAND_WINDOW_MS, Demand } from "./demand.ts";
import type { DockTarget } from "./dock-target.ts";
import type { DockStatus } from "./options.ts";
import { isShortage } from "./waiting-line.ts";

/** A dock that is short of memory looks again so often; nothing is wrong with its clones. */
const SHORT_RETRY_MS = 1000;
/** Measured memory changes without anything happening here; a dock that is bounded by it looks so often. */
const LOOK_AT_MEMORY_MS = 1000;

/** A clone in a dock, and what it was made for. */
export interface Docked extends AsyncDisposable {
  readonly clone: DockedClone;
  /** The key of the template that its identity is of; undefined for one without identity. */
  readonly templateKey: string | undefined;
}

export interface DockDependencies {
  /** Makes one clone; admission by memory is part of it. */
  readonly start: (substrate: LoadedSubstrate, target: DockTarget, signal: AbortSignal) => Promise<Docked>;
  /** Resolves when no claim is under way or waiting: refilling never slows a claim down, nor takes the memory it waits for. */
  readonly idle: () => Promise<void>;
  /** The mean memory of these clones, undefined when it was not measured yet. */
  readonly meanBytes: (ids: readonly string[]) => number | undefined;
  readonly parallelStarts: number;
  readonly logger: Logger;
  /** Its status may be another. */
  readonly onChange: (dock: Dock) => void;
}

/** Which of the ready clones a claim prefers. */
export interface Preference {
  /** Those whose identity was made by this template. */
  readonly templateKey: string;
  /** Those that must not stay, because they hold a value that the claim asks for. */
  readonly holders: ReadonlySet<string>;
  /** Whether another identity can take the place of the one that a clone has. */
  readonly accepts: (docked: Docked) => boolean;
}

/** The paused clones kept ready for one version of a substrate, and what keeps them so. */
export class Dock implements AsyncDisposable {
  readonly substrate: LoadedSubstrate;
  readonly #deps: DockDependencies;
  readonly #demand = new Demand();
  readonly #breaker = new Breaker();
  readonly #stopping = new AbortController();
  readonly #starts = new Set<Promise<void>>();
  readonly #ends = new Set<Promise<void>>();
  #target: DockTarget;
  #ready: Docked[] = [];
  #waiters: (() => void)[] = [];
  #lastError: unknown;
  #shrink: NodeJS.Timeout | undefined;
  /** What a clone of this dock was last measured to take, also when there is none now. */
  #cloneBytes: number | undefined;
  readonly #measured: NodeJS.Timeout;

  constructor(substrate: LoadedSubstrate, target: DockTarget, deps: DockDependencies) {
    this.substrate = substrate;
    this.#target = target;
    this.#deps = deps;
    this.#measured = setInterval(() => this.#target.maxMiB !== undefined && this.#adjust(), LOOK_AT_MEMORY_MS).unref();
    this.#adjust();
  }

  get target(): DockTarget {
    return this.#target;
  }

  get ready(): readonly Docked[] {
    return this.#ready;
  }

  get status(): DockStatus {
    const { name, version } = this.substrate.manifest;
    const { min, primed, pinned, maxMiB } = this.#target;
    const meanBytes = this.#meanBytes();
    return {
      substrate: name,
      version,
      pinned,
      primed,
      ready: this.#ready.length,
      starting: this.#starts.size,
      target: this.#depth(),
      min,
      max: this.#max(),
      maxMiB,
      memoryMiB: meanBytes === undefined ? undefined : (meanBytes * this.#ready.length) / MIB,
      failures: this.#breaker.failures,
      breaker: this.#breaker.state,
      lastError: this.#lastError === undefined ? undefined : messageOf(this.#lastError),
    };
  }

  setTarget(target: DockTarget): void {
    this.#target = target;
    this.#adjust();
    this.#wake();
  }

  /** Up to `count` ready clones, and every holder, even beyond `count`. They stay in the dock until they are taken. */
  choose(count: number, { templateKey, holders, accepts }: Preference): Docked[] {
    const rank = (docked: Docked) => {
      if (holders.has(docked.clone.plan.id)) return 0;
      return docked.templateKey === templateKey ? 1 : 2;
    };
    const usable = this.#ready.filter((docked) => rank(docked) < 2 || accepts(docked));
    const sorted = usable.toSorted((a, b) => rank(a) - rank(b)); // stable: the oldest first
    return sorted.slice(0, Math.max(count, sorted.filter((docked) => rank(docked) === 0).length));
  }

  /** Makes chosen clones the caller's, in the same turn: no other call can get one of them. @param wanted how many it needs */
  take(chosen: readonly Docked[], wanted: number): void {
    this.#demand.claimed(wanted);
    this.#ready = this.#ready.filter((docked) => !chosen.includes(docked));
    // When the demand ends nobody calls; look once more when it is forgotten.
    this.#shrink?.close();
    this.#shrink = setTimeout(() => this.#adjust(), DEMAND_WINDOW_MS).unref();
    this.#adjust();
  }

  /** @throws VmSubstrateError TIMEOUT with the last failed start's error, ABORTED, POOL_CLOSED */
  async awaitReady(count: number, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const what = `${count} docked clones of ${this.substrate.manifest.name}`;
    try {
      await withDeadline({ what, timeoutMs, signal }, async (inner) => {
        while (this.#ready.length < count) {
          inner.throwIfAborted();
          this.#stopping.signal.throwIfAborted();
          if (this.#max() < count) throw this.tooDeep(count);
          await new Promise<void>((resolve) => this.#waiters.push(resolve));
        }
      });
    } catch (error) {
      if (this.#lastError === undefined || !isVmSubstrateError(error, "TIMEOUT")) throw error;
      const message = `${what}: not ready within ${timeoutMs} ms; the last start failed: ${messageOf(this.#lastError)}`;
      throw new VmSubstrateError("TIMEOUT", message, { cause: this.#lastError });
    }
  }

  /** The error for who waits for more than will ever be ready. */
  tooDeep(count: number): VmSubstrateError {
    const { name } = this.substrate.manifest;
    const message = `docked: ${count} of "${name}": its dock holds at most ${this.#max()}; see pool.dock`;
    return new VmSubstrateError("INVALID_ARGUMENT", message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new VmSubstrateError("POOL_CLOSED", "the dock was closed"));
    this.#shrink?.close();
    clearInterval(this.#measured);
    this.#wake();
    await Promise.all([...this.#starts, ...this.#ends]);
    const ended = await Promise.allSettled(this.#ready.splice(0).map((docked) => docked[Symbol.asyncDispose]()));
    for (const one of ended) if (one.status === "rejected") throw one.reason;
  }

  #meanBytes(): number | undefined {
    return this.#deps.meanBytes(this.#ready.map(({ clone }) => clone.plan.id));
  }

  /** `max`, or as many as fit into `maxMiB` by what they were measured to take; before that, as if each took all of it. */
  #max(): number {
    const { min, max, maxMiB } = this.#target;
    if (maxMiB === undefined) return max;
    this.#cloneBytes = this.#meanBytes() ?? this.#cloneBytes;
    if (this.#cloneBytes === undefined) return Math.max(1, min);
    return Math.min(max, Math.floor((maxMiB * MIB) / this.#cloneBytes));
  }

  #depth(): number {
    const max = this.#max();
    return this.#demand.depth(Math.min(this.#target.min, max), max);
  }

  #fits({ templateKey }: Docked): boolean {
    const { primed, template } = this.#target;
    return templateKey === (primed ? template.key : undefined);
  }

  /** Starts what is missing and ends what is too much. Called whenever either may have changed. */
  #adjust(): void {
    if (this.#stopping.signal.aborted) return;
    const depth = this.#depth();
    const wrongKind = this.#ready.filter((docked) => !this.#fits(docked));
    this.#ready = this.#ready.filter((docked) => this.#fits(docked));
    for (const docked of [...wrongKind, ...this.#ready.splice(depth)]) this.#end(docked);
    const { parallelStarts } = this.#deps;
    // Priming runs guests for long: one processor stays free for claims.
    const parallel = this.#breaker.parallel(this.#target.primed ? Math.max(1, parallelStarts - 1) : parallelStarts);
    while (this.#starts.size < parallel && this.#ready.length + this.#starts.size < depth) {
      const start = this.#start();
      this.#starts.add(start);
      void start.finally(() => {
        this.#starts.delete(start);
        this.#adjust();
      });
    }
    this.#deps.onChange(this);
  }

  async #start(): Promise<void> {
    const { signal } = this.#stopping;
    const target = this.#target;
    try {
      await delay(this.#breaker.pauseMs(), undefined, { signal, ref: false });
      await this.#deps.idle();
      signal.throwIfAborted();
      // The target may be another one by now.
      if (this.#ready.length >= this.#depth() || target !== this.#target) return;
      this.#breaker.trying();
      this.#deps.onChange(this);
      const startedAt = performance.now();
      const docked = await this.#deps.start(this.substrate, target, signal);
      this.#demand.refilled(performance.now() - startedAt);
      this.#breaker.succeeded();
      this.#lastError = undefined;
      this.#add(docked);
    } catch (error) {
      if (signal.aborted) return;
      this.#lastError = error;
      if (isShortage(error)) {
        this.#breaker.gaveUp();
        this.#deps.onChange(this);
        await delay(SHORT_RETRY_MS, undefined, { signal, ref: false }).catch(() => {});
        return;
      }
      this.#breaker.failed();
      const { failures, state } = this.#breaker;
      this.#deps.logger.warn(
        { error: messageOf(error), failures, breaker: state },
        "a clone for the dock did not start",
      );
    }
  }

  #add(docked: Docked): void {
    this.#ready.push(docked);
    void docked.clone.clone.instance.process.exited.then(() => {
      const at = this.#ready.indexOf(docked);
      if (at < 0) return; // claimed meanwhile: no longer the dock's
      this.#ready.splice(at, 1);
      this.#end(docked);
      this.#adjust();
    });
    this.#wake();
  }

  /** In the background, but the dock's end waits for it. */
  #end(docked: Docked): void {
    const ending = (async () => {
      try {
        await docked[Symbol.asyncDispose]();
      } catch (error) {
        this.#deps.logger.warn({ error: messageOf(error) }, "a docked clone did not end cleanly");
      }
    })();
    this.#ends.add(ending);
    void ending.finally(() => this.#ends.delete(ending));
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
