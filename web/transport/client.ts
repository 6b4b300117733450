import type {
  ActivateBody,
  DaemonView,
  OperationView,
  Outcomes,
  Second,
  SubstrateView,
  VmView,
} from "../../api/index.ts";
import { ApiError } from "./api-error.ts";

const READ_TIMEOUT_MS = 15_000;
/** How long the daemon is let wait for the end of a change before it answers with an operation. */
const WAIT_SECONDS = 30;
const CHANGE_TIMEOUT_MS = (WAIT_SECONDS + 15) * 1000;
const CONSOLE_BYTES = 32_768;

export interface ClientOptions {
  /** Where the daemon is, without a slash at the end; empty for where the page came from. */
  readonly base: string;
  readonly token: string;
  readonly fetch?: typeof fetch;
}

export interface ProcessMemory {
  readonly pssBytes: number;
  readonly privateBytes: number;
}

/** What came of an activation: all VMs, or an operation that still runs. */
export type Activated = { readonly outcomes: Outcomes["outcomes"] } | { readonly operation: OperationView };

/** The daemon's HTTP API, as far as the page uses it. Every method throws `ApiError`. */
export class Client {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  daemon(signal?: AbortSignal): Promise<DaemonView> {
    return this.#read("", signal);
  }

  async seconds(signal?: AbortSignal): Promise<readonly Second[]> {
    return (await this.#read<{ seconds: Second[] }>("/stats", signal)).seconds;
  }

  substrates(signal?: AbortSignal): Promise<readonly SubstrateView[]> {
    return this.#read("/substrates", signal);
  }

  async operations(signal?: AbortSignal): Promise<readonly OperationView[]> {
    return (await this.#read<{ items: OperationView[] }>("/operations?state=running", signal)).items;
  }

  async console(id: string, signal?: AbortSignal): Promise<string> {
    return (await this.#read<{ text: string }>(`${vmPath(id)}/console?maxBytes=${CONSOLE_BYTES}`, signal)).text;
  }

  memory(id: string, signal?: AbortSignal): Promise<ProcessMemory> {
    return this.#read(`${vmPath(id)}/memory`, signal);
  }

  /** @param idempotencyKey the same for every repetition of one submission: nothing is then made twice */
  async activate(body: ActivateBody, idempotencyKey: string): Promise<Activated> {
    const response = await this.#send("POST", `/vms?wait=${WAIT_SECONDS}`, {
      headers: { "content-type": "application/json", "idempotency-key": idempotencyKey },
      body: JSON.stringify(body),
    });
    if (response.status === 202) return { operation: (await response.json()) as OperationView };
    return (await response.json()) as { outcomes: Outcomes["outcomes"] };
  }

  async release(id: string): Promise<void> {
    // Gone is what was wanted, also when somebody else was faster.
    await this.#send("DELETE", vmPath(id)).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    });
  }

  async park(id: string): Promise<void> {
    await this.#send("POST", `${vmPath(id)}/park`);
  }

  async resume(id: string): Promise<void> {
    await this.#send("POST", `${vmPath(id)}/resume`);
  }

  /** @param ms from now */
  async extend(id: string, ms: number): Promise<VmView | undefined> {
    const response = await this.#send("POST", `${vmPath(id)}/extend`, {
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ms }),
    });
    return response.status === 204 ? undefined : ((await response.json()) as VmView);
  }

  async #read<T>(path: string, signal?: AbortSignal): Promise<T> {
    const deadline = AbortSignal.timeout(READ_TIMEOUT_MS);
    const response = await this.#fetch(path, {
      signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
    });
    try {
      return (await response.json()) as T;
    } catch (cause) {
      throw new ApiError("The answer is not what this page understands.", response.status, undefined, { cause });
    }
  }

  #send(method: string, path: string, init: RequestInit = {}): Promise<Response> {
    return this.#fetch(path, { ...init, method, signal: AbortSignal.timeout(CHANGE_TIMEOUT_MS) });
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const { base, token, fetch: fetchOf = fetch } = this.#options;
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${token}`);
    let response: Response;
    try {
      response = await fetchOf(`${base}/v1${path}`, { ...init, headers, cache: "no-store" });
    } catch (cause) {
      throw ApiError.unreachable(cause);
    }
    if (!response.ok) throw await ApiError.of(response);
    return response;
  }
}

function vmPath(id: string): string {
  return `/vms/${encodeURIComponent(id)}`;
}
