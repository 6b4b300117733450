/**
 * Clones of docks that are being made or ended. Nobody can claim what they hold at this moment, but in the next: it is free
 * then, or theirs in a dock.
 */
export class Unsettled {
  readonly #clones = new Map<string, Promise<void>>();

  /** Until the result is disposed. */
  begin(id: string): Disposable {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#clones.set(id, promise);
    return {
      // In a turn of its own, when its dock has it.
      [Symbol.dispose]: () => {
        setImmediate(() => {
          if (this.#clones.get(id) === promise) this.#clones.delete(id);
          resolve();
        });
      },
    };
  }

  has(id: string): boolean {
    return this.#clones.has(id);
  }

  /** Resolves when a clone is settled, or when the signal fires. */
  async settled(id: string, signal: AbortSignal): Promise<void> {
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) resolve();
    await Promise.race([this.#clones.get(id), aborted]);
    signal.removeEventListener("abort", onAbort);
  }
}
