import { MAX_HISTORY_CHARS } from "./limits.ts";
import type { Change } from "./store.ts";

/**
 * The latest changes, for all watches together: each has a position in it instead of a queue of its own, so that a slow
 * one costs no memory. Positions count changes, and never come again.
 */
export class History {
  readonly #maxLength: number;
  readonly #changes: Change[] = [];
  /** The position of the first change that is kept. */
  #first = 0;
  #chars = 0;
  /** The greatest revision of which a change may be missing. */
  #compacted: number;
  #isClosed = false;
  readonly #waiting = new Set<() => void>();

  /** @param revision that of the store: of what came before nothing is known */
  constructor(maxLength: number, revision: number) {
    this.#maxLength = maxLength;
    this.#compacted = revision;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The position that the next change will have. */
  get end(): number {
    return this.#first + this.#changes.length;
  }

  /** Makes room first, not afterwards: who keeps up must not lose a part of one large commit. */
  append(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    while (this.#changes.length > this.#maxLength || this.#chars > MAX_HISTORY_CHARS) this.#dropFirst();
    for (const change of changes) {
      this.#changes.push(change);
      this.#chars += charsOf(change);
    }
    this.#wakeAll();
  }

  /** Where a watch begins that knows everything up to a revision; undefined when changes after it are gone. */
  positionAfter(revision: number): number | undefined {
    if (revision < this.#compacted) return undefined;
    const index = this.#changes.findIndex((change) => change.revision > revision);
    return index < 0 ? this.end : this.#first + index;
  }

  has(position: number): boolean {
    return position >= this.#first;
  }

  at(position: number): Change | undefined {
    return this.#changes[position - this.#first];
  }

  close(): void {
    this.#isClosed = true;
    this.#wakeAll();
  }

  /** Calls `wake` at the next change, or when the history is closed. */
  onNews(wake: () => void): void {
    this.#waiting.add(wake);
  }

  offNews(wake: () => void): void {
    this.#waiting.delete(wake);
  }

  #wakeAll(): void {
    for (const wake of this.#waiting) wake();
  }

  #dropFirst(): void {
    const change = this.#changes.shift();
    if (change === undefined) return;
    this.#first += 1;
    this.#chars -= charsOf(change);
    this.#compacted = change.revision;
  }
}

function charsOf({ key, entry }: Change): number {
  return key.length + (entry?.value.length ?? 0);
}
