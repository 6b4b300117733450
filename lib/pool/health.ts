import type { Vm } from "../clone/index.ts";

/** How many VMs are asked at a time: under emulation each answer costs some milliseconds of a processor. */
const PARALLEL_HEARTBEATS = 4;

export interface HealthOptions {
  /** Milliseconds between two heartbeats of a VM; 0 for none. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly vms: () => readonly Vm[];
}

/** Asks every VM for a sign of life, round after round. One that does not answer holds up no other for longer than its deadline. */
export class Health implements Disposable {
  readonly #options: HealthOptions;
  #timer: NodeJS.Timeout | undefined;
  #disposed = false;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#schedule();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    const { intervalMs } = this.#options;
    if (this.#disposed || intervalMs === 0) return;
    this.#timer = setTimeout(() => void this.#round(), intervalMs).unref();
  }

  async #round(): Promise<void> {
    const queue = [...this.#options.vms()];
    const worker = async () => {
      for (let vm = queue.shift(); vm !== undefined && !this.#disposed; vm = queue.shift()) {
        await vm.heartbeat(this.#options.timeoutMs);
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_HEARTBEATS }, worker));
    this.#schedule();
  }
}
