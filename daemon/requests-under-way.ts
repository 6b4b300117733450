import type { ServerResponse } from "node:http";

/** Requests that have not been answered to their end. */
export class RequestsUnderWay {
  readonly #responses = new Set<ServerResponse>();
  #onEnd: (() => void) | undefined;

  add(response: ServerResponse): void {
    this.#responses.add(response);
    response.once("close", () => {
      this.#responses.delete(response);
      if (this.#responses.size === 0) this.#onEnd?.();
    });
  }

  /** Resolves when there is none, or after `ms`. */
  async over(ms: number): Promise<void> {
    if (this.#responses.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onEnd = resolve;
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
  }
}
