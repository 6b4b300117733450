import { throwIfAborted, VmSubstrateError } from "../core/index.ts";
import type { History } from "./history.ts";
import type { Change, WatchOptions } from "./store.ts";

const ENDED = { done: true, value: undefined } as const;

/** One reader of a history. Not a generator: those cannot be ended while they wait for their next value. */
export class Watch implements AsyncIterableIterator<Change, undefined> {
  readonly #history: History;
  readonly #prefix: string;
  readonly #afterRevision: number;
  readonly #signal: AbortSignal | undefined;
  /** Undefined when the changes that were asked for were gone from the beginning. */
  #position: number | undefined;
  #isEnded = false;
  #news: PromiseWithResolvers<void> | undefined;
  readonly #wake = (): void => this.#news?.resolve();

  /** It begins here, not when it is first asked: what happens in between is not missed. */
  constructor(history: History, prefix: string, { afterRevision, signal }: WatchOptions) {
    this.#history = history;
    this.#prefix = prefix;
    this.#afterRevision = afterRevision ?? 0;
    this.#signal = signal;
    this.#position = afterRevision === undefined ? history.end : history.positionAfter(afterRevision);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** @throws VmSubstrateError STORE_COMPACTED, STORE_CLOSED, ABORTED */
  async next(): Promise<IteratorResult<Change, undefined>> {
    while (!this.#isEnded) {
      const change = this.#take();
      if (change !== undefined) return { done: false, value: change };
      await this.#nextNews();
    }
    return ENDED;
  }

  async return(): Promise<IteratorResult<Change, undefined>> {
    this.#isEnded = true;
    this.#wake();
    return ENDED;
  }

  /** The next change that it is about. A watch that fails has ended. */
  #take(): Change | undefined {
    try {
      throwIfAborted(this.#signal, `watch of "${this.#prefix}"`);
      if (this.#history.isClosed) throw new VmSubstrateError("STORE_CLOSED", "the store was closed; open it again");
      return this.#advance();
    } catch (error) {
      this.#isEnded = true;
      throw error;
    }
  }

  #advance(): Change | undefined {
    if (this.#position === undefined || !this.#history.has(this.#position)) throw this.#compacted();
    for (let change = this.#history.at(this.#position); change; change = this.#history.at(this.#position)) {
      this.#position += 1;
      if (change.revision > this.#afterRevision && change.key.startsWith(this.#prefix)) return change;
    }
    return undefined;
  }

  /** Calls of `next` that wait at the same time share one promise, and go on in their order. */
  async #nextNews(): Promise<void> {
    if (this.#news !== undefined) return this.#news.promise;
    this.#news = Promise.withResolvers<void>();
    this.#history.onNews(this.#wake);
    this.#signal?.addEventListener("abort", this.#wake);
    try {
      await this.#news.promise;
    } finally {
      this.#history.offNews(this.#wake);
      this.#signal?.removeEventListener("abort", this.#wake);
      this.#news = undefined;
    }
  }

  #compacted(): VmSubstrateError {
    const message = `watch of "${this.#prefix}": changes that it has not seen are no longer kept; list again, and watch from there`;
    return new VmSubstrateError("STORE_COMPACTED", message, { details: { prefix: this.#prefix } });
  }
}
