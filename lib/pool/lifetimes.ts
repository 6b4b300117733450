import type { Vm } from "../clone/index.ts";
import { type Logger, messageOf } from "../core/index.ts";
import { type Lifetime, nextDue } from "./lifetime.ts";

/** After an expiry that did not work: the VM may not answer, or the disk be full. */
const RETRY_MS = 5000;

/** Ends or parks VMs when their time is over. */
export class Lifetimes implements Disposable {
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #now: () => number;
  readonly #logger: Logger;

  /** @param now CLOCK_MONOTONIC, in milliseconds */
  constructor(now: () => number, logger: Logger) {
    this.#now = now;
    this.#logger = logger;
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
    const timer = setTimeout(() => void this.#expire(vm, lifetime), Math.max(0, atMs - this.#now()));
    this.#timers.set(vm.id, timer.unref());
  }

  async #expire(vm: Vm, lifetime: Lifetime): Promise<void> {
    const due = nextDue(lifetime);
    if (due === undefined || !this.#timers.has(vm.id)) return;
    try {
      switch (due.what) {
        case "release":
          await vm.release();
          return;
        case "park":
          await vm.park();
          // What is left of its life is the end of its greatest lifetime.
          this.set(vm, { ...lifetime, expiresAtMs: undefined });
      }
    } catch (error) {
      if (vm.state === "released" || vm.state === "failed") return;
      this.#logger.warn({ vm: vm.id, error: messageOf(error) }, "an expired VM could not be ended; trying again");
      this.#schedule(vm, lifetime, this.#now() + RETRY_MS);
    }
  }
}
