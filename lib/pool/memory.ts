import { formatMiB, MIB, VmSubstrateError } from "../core/index.ts";
import { availableMemoryBytes, type ProcessMemory } from "../host/index.ts";

/** What a running clone is counted with until enough of them were measured. */
const CLONE_MEMORY_BYTES = 64 * MIB;
/** Measured clones may still grow by a quarter. */
const GROWTH = 1.25;
const SAMPLES_WANTED = 4;
/** Left free on the machine. */
const MEMORY_RESERVE_BYTES = 256 * MIB;
/** Measuring costs the kernel about a millisecond a process: so many, so often. */
const MEASURE_INTERVAL_MS = 1000;
const MEASURES_AT_A_TIME = 16;

interface Tracked {
  readonly pid: number;
  readonly running: boolean;
  /** What it was given beyond its substrate, and may come to use. */
  readonly addedBytes: number;
  /** Pss at the last measurement. */
  bytes: number | undefined;
}

export interface MemoryOptions {
  /** All clones together, Pss; no limit but the machine's where it is undefined. */
  readonly budgetBytes: number | undefined;
  /** Undefined of a process that has ended. */
  readonly measure: (pid: number) => Promise<ProcessMemory | undefined>;
  readonly available?: () => Promise<number>;
}

/** What the clones of a pool take, and are about to take. */
export interface MemoryUse {
  readonly clones: number;
  /** Measured, and estimated where a clone is too new. Shared pages are counted once over all (Pss). */
  readonly bytes: number;
  /** What one more running VM is counted with. */
  readonly perVmBytes: number;
  readonly budgetBytes: number | undefined;
}

/**
 * Admits clones by measured memory. A docked clone is counted with what it will come to when it runs, because a claim must not
 * fail for memory that its dock has promised.
 */
export class Memory implements Disposable {
  readonly #options: MemoryOptions;
  readonly #tracked = new Map<string, Tracked>();
  #underWay = 0;
  #addedUnderWay = 0;
  readonly #timer: NodeJS.Timeout;
  #measuring = false;

  constructor(options: MemoryOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#measureSome(), MEASURE_INTERVAL_MS).unref();
  }

  track(id: string, pid: number, addedBytes = 0): void {
    this.#tracked.set(id, { pid, running: false, addedBytes, bytes: undefined });
  }

  /** It was handed out: from now on its size says what to expect of others, unless it was given more than they. */
  runs(id: string, pid: number, addedBytes = 0): void {
    this.#tracked.set(id, { pid, running: true, addedBytes, bytes: undefined });
  }

  /** Some of what it was given was taken away. What it takes is measured again in its turn. */
  resized(id: string, addedBytes: number): void {
    const tracked = this.#tracked.get(id);
    if (tracked !== undefined) this.#tracked.set(id, { ...tracked, addedBytes });
  }

  forget(id: string): void {
    this.#tracked.delete(id);
  }

  get use(): MemoryUse {
    return {
      clones: this.#tracked.size,
      bytes: this.#bytes(),
      perVmBytes: this.#perVmBytes(),
      budgetBytes: this.#options.budgetBytes,
    };
  }

  /** The mean of what these clones take; undefined when none was measured yet. */
  meanBytes(ids: readonly string[]): number | undefined {
    const known = ids.map((id) => this.#tracked.get(id)?.bytes).filter((bytes) => bytes !== undefined);
    return known.length === 0 ? undefined : sum(known) / known.length;
  }

  /**
   * Room for `count` further clones. It is theirs until the result is disposed: by then each is tracked, or was not made.
   * @param addedBytes what clones are given beyond their substrate, all of them together; all of it may come to be used
   * @throws VmSubstrateError INSUFFICIENT_MEMORY
   */
  async reserve(count: number, purpose: string, addedBytes = 0): Promise<Disposable> {
    const available = await (this.#options.available ?? availableMemoryBytes)();
    const each = this.#perVmBytes();
    const growth = sum([...this.#tracked.values()].map((one) => Math.max(0, each + one.addedBytes - (one.bytes ?? 0))));
    const promised = this.#underWay * each + this.#addedUnderWay;
    const { budgetBytes = Number.POSITIVE_INFINITY } = this.#options;
    const free = Math.min(available - MEMORY_RESERVE_BYTES, budgetBytes - this.#bytes()) - growth - promised;
    const needed = count * each + addedBytes;
    if (needed > free) throw insufficient(purpose, { needed, free, budgetBytes });
    this.#underWay += count;
    this.#addedUnderWay += addedBytes;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) {
          this.#underWay -= count;
          this.#addedUnderWay -= addedBytes;
        }
        held = false;
      },
    };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #bytes(): number {
    return sum([...this.#tracked.values()].map(({ bytes }) => bytes ?? 0));
  }

  #perVmBytes(): number {
    const alike = [...this.#tracked.values()].filter(({ addedBytes }) => addedBytes === 0);
    const samples = alike.filter(({ running, bytes }) => running && bytes !== undefined);
    if (samples.length < SAMPLES_WANTED) return CLONE_MEMORY_BYTES;
    return (GROWTH * sum(samples.map(({ bytes = 0 }) => bytes))) / samples.length;
  }

  /** The ones that were never measured first, then those whose measurement is oldest: a Map keeps the order of insertion. */
  async #measureSome(): Promise<void> {
    if (this.#measuring) return;
    this.#measuring = true;
    const entries = [...this.#tracked];
    const fresh = entries.filter(([, { bytes }]) => bytes === undefined);
    const others = entries.filter(([, { bytes }]) => bytes !== undefined);
    for (const [id, tracked] of [...fresh, ...others].slice(0, MEASURES_AT_A_TIME)) {
      // One that has ended cannot be measured; who owns it hears of that elsewhere.
      const memory = await this.#options.measure(tracked.pid).catch(() => undefined);
      if (memory === undefined || this.#tracked.get(id) !== tracked) continue;
      tracked.bytes = memory.pssBytes;
      this.#tracked.delete(id);
      this.#tracked.set(id, tracked);
    }
    this.#measuring = false;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function insufficient(
  purpose: string,
  { needed, free, budgetBytes }: { needed: number; free: number; budgetBytes: number },
): VmSubstrateError {
  const whose = Number.isFinite(budgetBytes)
    ? `the budget of ${formatMiB(budgetBytes)} or this machine has`
    : "there are";
  return new VmSubstrateError(
    "INSUFFICIENT_MEMORY",
    `${purpose} needs about ${formatMiB(needed)}; ${whose} ${formatMiB(Math.max(0, free))} left for it ` +
      `(${formatMiB(MEMORY_RESERVE_BYTES)} stay in reserve); release VMs, make docks smaller, or ask for fewer`,
    { details: { neededBytes: Math.round(needed), freeBytes: Math.max(0, Math.round(free)) } },
  );
}
