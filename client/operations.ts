import { setTimeout as delay } from "node:timers/promises";
import type { OperationView } from "../api/index.ts";
import { newId } from "../lib/core/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import type { Http, HttpRequest } from "./http.ts";
import { errorOf } from "./problem-error.ts";

/** One request waits so long at most; then it is asked again. */
const WAIT_SECONDS = 60;
const CANCEL_TRIES = 50;
const CANCEL_PAUSE_MS = 20;

export interface OperationCall extends Pick<HttpRequest, "path" | "body" | "headers"> {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: never) => void) | undefined;
}

/** Work of the daemon that this client waits for. */
export class OperationCalls {
  readonly #http: Http;
  readonly #listeners = new Map<string, (progress: object) => void>();

  constructor(http: Http) {
    this.#http = http;
  }

  /** Something of an operation was heard. */
  heard({ id, state, progress }: OperationView): void {
    if (state === "running" && progress !== null) this.#listeners.get(id)?.(progress);
  }

  /**
   * Resolves with the operation's result. Aborting cancels it, and rejects when all that it had begun is undone.
   * @throws VmSubstrateError ABORTED, DAEMON_UNREACHABLE, and what the daemon answers
   */
  async run<Result>({ signal, onProgress, ...request }: OperationCall): Promise<Result> {
    const id = newId();
    if (signal?.aborted === true) throw aborted(signal);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each operation reports what its caller expects
    if (onProgress !== undefined) this.#listeners.set(id, onProgress as (progress: object) => void);
    const over = new AbortController();
    const cancel = () => void this.#cancel(id, over.signal);
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      const response = await this.#http.request({ ...request, id, method: "POST", query: { wait: WAIT_SECONDS } });
      const result = response.status === 202 ? await this.#end((response.json() as OperationView).id) : response.json();
      return result as Result;
    } catch (error) {
      throw signal === undefined ? error : abortedOr(error, signal);
    } finally {
      signal?.removeEventListener("abort", cancel);
      over.abort();
      this.#listeners.delete(id);
    }
  }

  /** The request that starts it may arrive after this one. */
  async #cancel(id: string, over: AbortSignal): Promise<void> {
    for (let tries = 0; tries < CANCEL_TRIES && !over.aborted; tries++) {
      try {
        await this.#http.request({ method: "DELETE", path: `/operations/${id}` });
        return;
      } catch {
        await delay(CANCEL_PAUSE_MS, undefined, { signal: over }).catch(() => {});
      }
    }
  }

  async #end(id: string): Promise<unknown> {
    for (;;) {
      const response = await this.#http.request({ path: `/operations/${id}`, query: { wait: WAIT_SECONDS } });
      const { state, result, error } = response.json() as OperationView;
      if (state === "succeeded") return result;
      if (state !== "running") throw errorOf(error);
    }
  }
}

/** What a call that was aborted meets on its way out says less than that it was. */
function abortedOr(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? aborted(signal) : error;
}

function aborted({ reason }: AbortSignal): VmSubstrateError {
  return new VmSubstrateError("ABORTED", "aborted by the caller", { cause: reason });
}
