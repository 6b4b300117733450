import { setTimeout as delay } from "node:timers/promises";
import type { DockedClone } from "../clone/index.ts";
import { isVmSubstrateError, type Logger, messageOf, VmSubstrateError, withDeadline } from "../core/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import { DEMAND_WINDOW_MS, Demand } from "./demand.ts";
import type { DockStatus } from "./options.ts";

/** The pause after a failed start, doubled with each further failure in a row, and jittered. */
const BACKOFF_FIRST_MS = 250;
const BACKOFF_MAX_MS = 30_000;

export interface DockDependencies {
  /** Launches one clone; admission by memory is part of it. */
  readonly start: (substrate: LoadedSubstrate, primed: boolean, signal: AbortSignal) => Promise<DockedClone>;
  /** Resolves when no activation is under way: refilling never slows a claim down. */
  readonly idle: () => Promise<void>;
  readonly parallelStarts: number;
  readonly logger: Logger;
}

export interface DockTarget {
  readonly min: number;
  readonly max: number;
  readonly primed: boolean;
}

/** The paused clones kept ready for one version of a substrate, and what keeps them so. */
export class Dock implements AsyncDisposable {
  readonly substrate: LoadedSubstrate;
  readonly #deps: DockDependencies;
  readonly #demand = new Demand();
  readonly #stopping = new AbortController();
  readonly #starts = new Set<Promise<void>>();
  readonly #ends = new Set<Promise<void>>();
  #target: DockTarget;
  #ready: DockedClone[] = [];
  #waiters: (() => void)[] = [];
  #failures = 0;
  #lastError: unknown;
  #shrink: NodeJS.Timeout | undefined;

  constructor(substrate: LoadedSubstrate, target: DockTarget, deps: DockDependencies) {
    this.substrate = substrate;
    this.#target = target;
    this.#deps = deps;
    this.#adjust();
  }

  get ready(): number {
    return this.#ready.length;
  }

  get status(): DockStatus {
    const { name, version } = this.substrate.manifest;
    return {
      substrate: name,
      version,
      primed: this.#target.primed,
      ready: this.#ready.length,
      starting: this.#starts.size,
      target: this.#depth(),
      min: this.#target.min,
      max: this.#target.max,
      failures: this.#failures,
      lastError: this.#failures === 0 ? undefined : messageOf(this.#lastError),
    };
  }

  setTarget(target: DockTarget): void {
    this.#target = target;
    this.#adjust();
    this.#wake();
  }

  /** Up to `count` ready clones, which are the caller's from here on: no other call can get one of them. */
  take(count: number): DockedClone[] {
    this.#demand.claimed(count);
    const taken = this.#ready.splice(0, count);
    // When the demand ends nobody calls; look once more when it is forgotten.
    this.#shrink?.close();
    this.#shrink = setTimeout(() => this.#adjust(), DEMAND_WINDOW_MS).unref();
    this.#adjust();
    return taken;
  }

  /** @throws VmSubstrateError TIMEOUT with the last failed start's error, ABORTED, POOL_CLOSED */
  async awaitReady(count: number, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const what = `${count} docked clones of ${this.substrate.manifest.name}`;
    try {
      await withDeadline({ what, timeoutMs, signal }, async (inner) => {
        while (this.#ready.length < count) {
          inner.throwIfAborted();
          this.#stopping.signal.throwIfAborted();
          if (this.#target.max < count) throw this.tooDeep(count);
          await new Promise<void>((resolve) => this.#waiters.push(resolve));
        }
      });
    } catch (error) {
      if (this.#failures === 0 || !isVmSubstrateError(error, "TIMEOUT")) throw error;
      const message = `${what}: not ready within ${timeoutMs} ms; the last start failed: ${messageOf(this.#lastError)}`;
      throw new VmSubstrateError("TIMEOUT", message, { cause: this.#lastError });
    }
  }

  /** The error for who waits for more than will ever be ready. */
  tooDeep(count: number): VmSubstrateError {
    const { name } = this.substrate.manifest;
    const message = `docked: ${count} of "${name}": its dock holds at most ${this.#target.max}; see pool.dock`;
    return new VmSubstrateError("INVALID_ARGUMENT", message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new VmSubstrateError("POOL_CLOSED", "the dock was closed"));
    this.#shrink?.close();
    this.#wake();
    await Promise.all([...this.#starts, ...this.#ends]);
    const ended = await Promise.allSettled(this.#ready.splice(0).map((docked) => docked[Symbol.asyncDispose]()));
    for (const one of ended) if (one.status === "rejected") throw one.reason;
  }

  #depth(): number {
    return this.#demand.depth(this.#target.min, this.#target.max);
  }

  /** Starts what is missing and ends what is too much. Called whenever either may have changed. */
  #adjust(): void {
    if (this.#stopping.signal.aborted) return;
    const depth = this.#depth();
    const wrongKind = this.#ready.filter(({ primed }) => primed !== this.#target.primed);
    this.#ready = this.#ready.filter(({ primed }) => primed === this.#target.primed);
    for (const docked of [...wrongKind, ...this.#ready.splice(depth)]) this.#end(docked);
    while (this.#starts.size < this.#deps.parallelStarts && this.#ready.length + this.#starts.size < depth) {
      const start = this.#start();
      this.#starts.add(start);
      void start.finally(() => {
        this.#starts.delete(start);
        this.#adjust();
      });
    }
  }

  async #start(): Promise<void> {
    const { signal } = this.#stopping;
    const { primed } = this.#target;
    try {
      if (this.#failures > 0) await delay(this.#backoffMs(), undefined, { signal, ref: false });
      await this.#deps.idle();
      signal.throwIfAborted();
      // The target may be another one by now.
      if (this.#ready.length >= this.#depth() || primed !== this.#target.primed) return;
      const startedAt = performance.now();
      const docked = await this.#deps.start(this.substrate, primed, signal);
      this.#demand.refilled(performance.now() - startedAt);
      this.#failures = 0;
      this.#add(docked);
    } catch (error) {
      if (signal.aborted) return;
      this.#failures++;
      this.#lastError = error;
      this.#deps.logger.warn(
        { error: messageOf(error), failures: this.#failures },
        "a clone for the dock did not start",
      );
    }
  }

  #add(docked: DockedClone): void {
    this.#ready.push(docked);
    void docked.clone.instance.process.exited.then(() => {
      const at = this.#ready.indexOf(docked);
      if (at < 0) return; // claimed meanwhile: no longer the dock's
      this.#ready.splice(at, 1);
      this.#end(docked);
      this.#adjust();
    });
    this.#wake();
  }

  /** In the background, but the dock's end waits for it. */
  #end(docked: DockedClone): void {
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

  #backoffMs(): number {
    const fullMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (this.#failures - 1));
    return fullMs * (0.5 + Math.random() / 2);
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
