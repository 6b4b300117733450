import { VmSubstrateError } from "../core/index.ts";
import type { Draft } from "./draft.ts";
import { MAX_GROUP_OPERATIONS, MAX_QUEUED_OPERATIONS } from "./limits.ts";

interface Request {
  evaluate(draft: Draft): void;
  settle(): void;
  fail(error: unknown): void;
}

/**
 * Operations requested in one turn of the event loop share one commit, and so one fsync. Each is answered after that
 * commit only, also one that wrote nothing: what it saw of the others was not durable before.
 */
export class GroupCommit {
  readonly #commit: (work: (draft: Draft) => void) => void;
  readonly #queue: Request[] = [];
  #turn: NodeJS.Immediate | undefined;

  /** @param commit makes durable what its argument does with a draft, or throws */
  constructor(commit: (work: (draft: Draft) => void) => void) {
    this.#commit = commit;
  }

  /** @throws VmSubstrateError what `operation` throws, or the error of the commit; INVALID_ARGUMENT when too many wait */
  request<T>(operation: (draft: Draft) => T): Promise<T> {
    if (this.#queue.length >= MAX_QUEUED_OPERATIONS) return Promise.reject(tooMany());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let settle: () => void = () => {};
    this.#queue.push({
      evaluate(draft) {
        try {
          const result = operation(draft);
          settle = () => resolve(result);
        } catch (error) {
          // Only our own errors are the operation's; SQLite's are the whole group's.
          if (!(error instanceof VmSubstrateError)) throw error;
          settle = () => reject(error);
        }
      },
      settle: () => settle(),
      fail: reject,
    });
    this.#schedule();
    return promise;
  }

  /** Commits all that waits, now. */
  drain(): void {
    clearImmediate(this.#turn);
    while (this.#queue.length > 0) this.#commitGroup();
  }

  #schedule(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#commitGroup();
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  #commitGroup(): void {
    const group = this.#queue.splice(0, MAX_GROUP_OPERATIONS);
    try {
      this.#commit((draft) => {
        for (const request of group) request.evaluate(draft);
      });
    } catch (error) {
      for (const request of group) request.fail(error);
      return;
    }
    for (const request of group) request.settle();
  }
}

function tooMany(): VmSubstrateError {
  const message = `${MAX_QUEUED_OPERATIONS} operations wait for the store already; await some of them first`;
  return new VmSubstrateError("INVALID_ARGUMENT", message);
}
