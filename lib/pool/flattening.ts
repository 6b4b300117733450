import { flattenDisk, type OnFailpoint, type Vm, type VmState } from "../clone/index.ts";
import { type Logger, messageOf, Turns, VmSubstrateError } from "../core/index.ts";
import type { Paths } from "../host/index.ts";
import { Breaker } from "./breaker.ts";
import type { Instants } from "./instants.ts";
import type { VmLedger } from "./vm-ledger.ts";

/** So many instants may stay under a disk: a VM that was forked once or twice is not worth a copy. */
const MAX_LASTING_INSTANTS = 2;
/** Whoever needs the disk of a VM with fewer instants ends its flattening; with so many it is waited for. */
const PATIENT_DEPTH = 8;

const ENDED: readonly VmState[] = ["released", "failed", "detached"];

export interface FlatteningDependencies {
  readonly paths: Paths;
  readonly ledger: VmLedger;
  readonly instants: Pick<Instants, "sweep">;
  /** The VM of an id, once it was handed out. */
  readonly vm: (id: string) => Vm | undefined;
  /** Resolves when no claim is under way. */
  readonly idle: () => Promise<void>;
  readonly failpoint: OnFailpoint;
  readonly logger: Logger;
}

/** Makes the disks of VMs flat that were forked again and again: one at a time, in the background. */
export class Flattening implements AsyncDisposable {
  readonly #deps: FlatteningDependencies;
  readonly #stopping = new AbortController();
  /** Ids of VMs to look at, in order. */
  readonly #wanted = new Set<string>();
  #working: Promise<void> | undefined;
  #current: { readonly id: string; readonly giveUp: AbortController } | undefined;
  /** Of VMs whose disk somebody works with, and how many do or want to. */
  readonly #turns = new Map<string, { readonly turns: Turns; users: number }>();
  readonly #breakers = new Map<string, Breaker>();
  readonly #retries = new Map<string, NodeJS.Timeout>();

  constructor(deps: FlatteningDependencies) {
    this.#deps = deps;
  }

  /** A VM may have too many instants under its disk. Returns at once. */
  look(id: string): void {
    if (this.#stopping.signal.aborted || this.#depth(id) <= MAX_LASTING_INSTANTS) return;
    clearTimeout(this.#retries.get(id));
    this.#wanted.add(id);
    this.#working ??= this.#work();
  }

  /**
   * Works with a VM's disk while nobody else does. A flattening under way is ended for it, or waited for where the chain is long.
   * The caller looks at the VM again when there is time for that.
   *
   * @throws the signal's reason; whatever `work` throws
   */
  async without<T>(id: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#current?.id === id && this.#depth(id) < PATIENT_DEPTH) this.#current.giveUp.abort(interrupted());
    return this.#inTurn(id, signal, work);
  }

  /** Ends a flattening under way; what it has copied stays with its VM. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(interrupted());
    for (const retry of this.#retries.values()) clearTimeout(retry);
    await this.#working;
  }

  #depth(id: string): number {
    return this.#deps.ledger.get(id)?.instants?.length ?? 0;
  }

  /** Never throws. */
  async #work(): Promise<void> {
    for (const id of this.#wanted) {
      await this.#deps.idle();
      if (this.#stopping.signal.aborted) break;
      this.#wanted.delete(id);
      if (!this.#turns.has(id)) await this.#attempt(id);
    }
    this.#working = undefined;
  }

  async #attempt(id: string): Promise<void> {
    const giveUp = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, giveUp.signal]);
    this.#current = { id, giveUp };
    try {
      await this.#inTurn(id, signal, () => this.#flatten(id, signal));
      this.#breakers.delete(id);
    } catch (error) {
      const isEnded = ENDED.includes(this.#deps.vm(id)?.state ?? "released");
      if (signal.aborted || isEnded) this.#breakers.delete(id);
      else this.#failed(id, error);
    } finally {
      this.#current = undefined;
    }
  }

  /** The record loses what is no longer under the disk when QEMU has none of it open, and only that. */
  async #flatten(id: string, signal: AbortSignal): Promise<void> {
    const { paths, ledger, instants: disks, vm, failpoint, logger } = this.#deps;
    const handedOut = vm(id);
    const record = ledger.get(id);
    if (handedOut === undefined || record === undefined) return;
    const startedAt = performance.now();
    const { instants = [], substrate } = record;
    const { disk: base } = paths.substrate(substrate.name, substrate.version);
    const options = { id, base, paths, failpoint, signal };
    await handedOut.whileAlive("flattening", ({ instance }) => flattenDisk(instance, options));
    await ledger.update(id, { instants: undefined });
    failpoint("flatten.recorded");
    await disks.sweep();
    const tookMs = Math.round(performance.now() - startedAt);
    logger.info({ vm: id, instants: instants.length, tookMs }, "made a VM's disk flat");
  }

  /** It goes on with a long chain, and is tried again. */
  #failed(id: string, error: unknown): void {
    const breaker = this.#breakers.get(id) ?? new Breaker();
    this.#breakers.set(id, breaker);
    breaker.failed();
    const { failures } = breaker;
    this.#deps.logger.warn({ vm: id, error: messageOf(error), failures }, "a VM's disk could not be made flat");
    const again = () => {
      this.#retries.delete(id);
      this.look(id);
    };
    this.#retries.set(id, setTimeout(again, breaker.pauseMs()).unref());
  }

  async #inTurn<T>(id: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const place = this.#turns.get(id) ?? { turns: new Turns(), users: 0 };
    this.#turns.set(id, place);
    place.users++;
    try {
      const end = await place.turns.take(signal);
      try {
        return await work();
      } finally {
        end();
      }
    } finally {
      if (--place.users === 0) this.#turns.delete(id);
    }
  }
}

function interrupted(): VmSubstrateError {
  return new VmSubstrateError("ABORTED", "the flattening of a VM's disk was ended for something else");
}
