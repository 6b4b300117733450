import { setTimeout as delay } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import { messageOf } from "../lib/core/index.ts";
import type { Http, HttpRequest } from "./http.ts";
import { errorOf } from "./problem-error.ts";

const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5000;
/** The daemon says something every 15 s: one that is silent for longer is not there any more. */
const MAX_SILENCE_MS = 45_000;

export interface StreamListener {
  /** A message of the stream: its type, and its data in JSON. */
  message(type: string, data: unknown): void;
  /** The connection was lost; it is tried again. */
  lost(why: string): void;
}

/** Reads a daemon's event stream, connects again when it ends, and continues after the last event that it saw. */
export class EventStream implements AsyncDisposable {
  readonly #http: Http;
  readonly #query: NonNullable<HttpRequest["query"]>;
  readonly #listener: StreamListener;
  readonly #stopping = new AbortController();
  #reading: Promise<void> = Promise.resolve();
  #lastId: string | undefined;

  private constructor(http: Http, query: NonNullable<HttpRequest["query"]>, listener: StreamListener) {
    this.#http = http;
    this.#query = query;
    this.#listener = listener;
  }

  /** Resolves when the first connection is made. @throws VmSubstrateError DAEMON_UNREACHABLE, and what the daemon answers */
  static async open(
    http: Http,
    query: NonNullable<HttpRequest["query"]>,
    listener: StreamListener,
    signal?: AbortSignal,
  ): Promise<EventStream> {
    const stream = new EventStream(http, query, listener);
    const onAbort = () => stream.#stopping.abort();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const body = await stream.#connect();
      stream.#reading = stream.#read(body);
      return stream;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#reading;
  }

  async #connect(): Promise<AsyncIterable<Buffer>> {
    const { statusCode, body } = await this.#http.open({
      path: "/events",
      query: this.#query,
      headers: { accept: "text/event-stream", "last-event-id": this.#lastId },
      signal: this.#stopping.signal,
      silenceMs: MAX_SILENCE_MS,
    });
    if (statusCode === 200) return body;
    throw errorOf(await body.json().catch(() => undefined), statusCode);
  }

  async #read(first: AsyncIterable<Buffer>): Promise<void> {
    const { signal } = this.#stopping;
    let body: AsyncIterable<Buffer> | undefined = first;
    for (let pauseMs = FIRST_PAUSE_MS; !signal.aborted; ) {
      try {
        body ??= await this.#connect();
        pauseMs = FIRST_PAUSE_MS;
        await this.#messages(body);
        if (!signal.aborted) this.#listener.lost("the stream ended");
      } catch (error) {
        if (!signal.aborted) this.#listener.lost(messageOf(error));
      }
      body = undefined;
      // Many clients of one daemon do not come back at once.
      await delay(pauseMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
      pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
    }
  }

  async #messages(body: AsyncIterable<Buffer>): Promise<void> {
    const decoder = new TextDecoder();
    const parser = createParser({
      onEvent: ({ event = "message", data, id }) => {
        this.#lastId = id ?? this.#lastId;
        this.#listener.message(event, JSON.parse(data));
      },
    });
    for await (const chunk of body) parser.feed(decoder.decode(chunk, { stream: true }));
  }
}
