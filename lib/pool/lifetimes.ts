import type { Vm } from "../clone/index.ts";
import { type Logger, messageOf } from "../core/index.ts";
import { type Lifetime, nextDue } from "./lifetime.ts";

/** After an expiry that did not work: the VM may not answer, or the disk be full. */
const RETRY_MS = 5000;

export interface LifetimesDependencies {
  /** CLOCK_MONOTONIC, in milliseconds. */
  readonly now: () => number;
  /** Makes a VM's new lifetime durable. */
  readonly record: (id: string, lifetime: Lifetime) => Promise<void>;
  readonly logger: Logger;
}

/** Ends or parks VMs when their time is over. */
export class Lifetimes implements Disposable {
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #deps: LifetimesDependencies;

  constructor(deps: LifetimesDependencies) {
    this.#deps = deps;
  }

  /** Sets a VM's lifetime, in place of an earlier one. */
  set(vm: Vm, lifetime: Lifetime): void {
    this.forget(vm.id);
    const due = nextDue(lifetime);
    // One that has parked a VM has nothing more to do until the greatest lifetime ends.
    if (due === undefined) return;
    this.#schedule(vm, lifetime, due.atMs);
  }

  forget(id: string): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
  }

  [Symbol.dispose](): void {
    for (const id of this.#timers.keys()) this.forget(id);
  }

  #schedule(vm: Vm, lifetime: Lifetime, atMs: number): void {
    const afterMs = Math.max(0, atMs - this.#deps.now());
    const timer = setTimeout(() => void this.#expire(vm, lifetime, timer), afterMs).unref();
    this.#timers.set(vm.id, timer);
  }

  async #expire(vm: Vm, lifetime: Lifetime, timer: NodeJS.Timeout): Promise<void> {
    const due = nextDue(lifetime);
    const isCurrent = () => this.#timers.get(vm.id) === timer;
    if (due === undefined || !isCurrent()) return;
    try {
      switch (due.what) {
        case "release":
          await vm.release();
          return;
        case "park": {
          await vm.park();
          if (!isCurrent()) return; // it was extended meanwhile
          // What is left of its life is the end of its greatest lifetime; the next owner must know that, too.
          const left = { ...lifetime, expiresAtMs: undefined };
          await this.#deps.record(vm.id, left);
          if (isCurrent()) this.set(vm, left);
        }
      }
    } catch (error) {
      if (vm.state === "released" || vm.state === "failed" || !isCurrent()) return;
      this.#deps.logger.warn({ vm: vm.id, error: messageOf(error) }, "an expired VM could not be ended; trying again");
      this.#schedule(vm, lifetime, this.#deps.now() + RETRY_MS);
    }
  }
}
