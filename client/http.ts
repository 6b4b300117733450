import { Pool as Connections, type Dispatcher, errors } from "undici";
import { API_PREFIX, PROBLEM_TYPE } from "../api/index.ts";
import { newId } from "../lib/core/index.ts";
import { VmSubstrateError } from "../lib/index.ts";
import { errorOf } from "./problem-error.ts";

export interface Target {
  /** A unix socket, or undefined for TCP. */
  readonly socket?: string | undefined;
  /** "http://127.0.0.1:7070". */
  readonly origin: string;
  readonly token?: string | undefined;
}

export interface HttpRequest {
  readonly method?: "GET" | "POST" | "PUT" | "DELETE";
  /** Below the API's prefix: "/vms". */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Bytes are sent as they are, all else as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** Names the request, and the operation that it starts. */
  readonly id?: string;
  readonly signal?: AbortSignal | undefined;
  /** How long the answer may pause within its body, milliseconds. Default: for ever. */
  readonly silenceMs?: number;
}

export interface HttpResponse {
  readonly status: number;
  readonly bytes: Uint8Array;
  /** Undefined of an empty body. */
  json(): unknown;
}

/** Requests to one daemon. A problem that it answers becomes the error that it is there. */
export class Http implements AsyncDisposable {
  readonly target: Target;
  readonly #connections: Connections;

  constructor(target: Target) {
    this.target = target;
    this.#connections = new Connections(target.origin, {
      // A request may wait for an operation as long as it likes; its signal ends it.
      headersTimeout: 0,
      bodyTimeout: 0,
      ...(target.socket === undefined ? {} : { connect: { socketPath: target.socket } }),
    });
  }

  /** @throws VmSubstrateError DAEMON_UNREACHABLE, ABORTED, and whatever the daemon answers */
  async request(request: HttpRequest): Promise<HttpResponse> {
    const response = await this.open(request);
    const bytes = await this.#guard(request, response.body.bytes());
    const text = () => Buffer.from(bytes).toString();
    const json = () => (bytes.length === 0 ? undefined : (JSON.parse(text()) as unknown));
    if (response.statusCode < 400) return { status: response.statusCode, bytes, json };
    const type = String(response.headers["content-type"] ?? "");
    throw errorOf(type.startsWith(PROBLEM_TYPE) ? json() : { detail: text().slice(0, 500) }, response.statusCode);
  }

  /** The answer's head, its body to be read. @throws VmSubstrateError as `request`, but for what the daemon answers */
  async open({ method = "GET", path, query = {}, body, headers = {}, id = newId(), signal, silenceMs }: HttpRequest) {
    const given = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)] satisfies [string, string]],
    );
    const search = new URLSearchParams(given).toString();
    const isBytes = body instanceof Uint8Array;
    const options: Dispatcher.RequestOptions = {
      method,
      path: `${API_PREFIX}${path}${search === "" ? "" : `?${search}`}`,
      headers: {
        "x-request-id": id,
        ...(this.target.token === undefined ? {} : { authorization: `Bearer ${this.target.token}` }),
        ...(body === undefined ? {} : { "content-type": isBytes ? "application/octet-stream" : "application/json" }),
        ...Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)),
      },
      ...(body === undefined ? {} : { body: isBytes ? body : JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
      ...(silenceMs === undefined ? {} : { bodyTimeout: silenceMs }),
    };
    return this.#guard({ signal }, this.#connections.request(options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections.destroy();
  }

  async #guard<T>({ signal }: Pick<HttpRequest, "signal">, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (cause) {
      if (signal?.aborted === true) {
        throw new VmSubstrateError("ABORTED", "the request was aborted", { cause: signal.reason });
      }
      if (cause instanceof errors.InvalidArgumentError) {
        throw new VmSubstrateError("INVALID_ARGUMENT", `this cannot be sent: ${cause.message}`, { cause });
      }
      const where = this.target.socket ?? this.target.origin;
      const why = cause instanceof Error ? cause.message : String(cause);
      const message = `no daemon answers at ${where} (${why}); start one: substrate daemon start`;
      throw new VmSubstrateError("DAEMON_UNREACHABLE", message, { cause, details: { where } });
    }
  }
}
