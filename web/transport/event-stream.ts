import { createParser, type EventSourceMessage } from "eventsource-parser";
import { ApiError } from "./api-error.ts";
import { backoffMs } from "./backoff.ts";

/** A tick comes every second; a connection that says nothing for so long is dead, whatever TCP believes. */
const SILENCE_MS = 10_000;
/** Longest text without the end of a message. A snapshot of a thousand VMs has about 1 MB. */
const MAX_MESSAGE_CHARS = 32 * 1024 * 1024;

export interface EventStreamOptions {
  readonly url: string;
  readonly token: string;
  readonly onMessage: (message: EventSourceMessage) => void;
  /** The first message of a connection came. */
  readonly onLive: () => void;
  /** A connection ended or did not come about; the next try is after `waitMs`. */
  readonly onWaiting: (waitMs: number, error: ApiError) => void;
  /** The token is refused. There are no further tries. */
  readonly onRefused: (error: ApiError) => void;
  readonly fetch?: typeof fetch;
  readonly random?: () => number;
  readonly silenceMs?: number;
}

/**
 * Server-Sent Events by `fetch`, because `EventSource` cannot send a header with the token. Reconnects for ever, tells the server
 * the last event that was heard, and ends when it is closed.
 */
export class EventStream {
  readonly #options: EventStreamOptions;
  readonly #closed = new AbortController();
  #lastEventId: string | undefined;
  #failures = 0;
  /** Ends the pause between two tries. */
  #hurry: (() => void) | undefined;

  constructor(options: EventStreamOptions) {
    this.#options = options;
    void this.#run();
  }

  close(): void {
    this.#closed.abort();
    this.#hurry?.();
  }

  /** Tries now rather than after the pause: the machine has a network again, or somebody looks at the page. */
  hurry(): void {
    this.#hurry?.();
  }

  async #run(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      const error = await this.#connection();
      if (this.#closed.signal.aborted) return;
      if (error.status === 401 || error.status === 403) {
        this.#options.onRefused(error);
        return;
      }
      this.#failures += 1;
      const waitMs = backoffMs(this.#failures, (this.#options.random ?? Math.random)());
      this.#options.onWaiting(waitMs, error);
      await this.#pause(waitMs);
    }
  }

  /** One connection, from its request to its end. @returns why it ended */
  async #connection(): Promise<ApiError> {
    const { url, token, fetch: fetchOf = fetch, silenceMs = SILENCE_MS } = this.#options;
    const silence = new AbortController();
    const signal = AbortSignal.any([this.#closed.signal, silence.signal]);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), silenceMs);
    };
    heard();
    try {
      const headers = new Headers({ accept: "text/event-stream", authorization: `Bearer ${token}` });
      if (this.#lastEventId !== undefined) headers.set("last-event-id", this.#lastEventId);
      const response = await fetchOf(url, { headers, signal, cache: "no-store" });
      if (!response.ok) return await ApiError.of(response);
      if (response.body === null) return ApiError.unreachable("no body");
      await this.#read(response.body, heard);
      return new ApiError("The daemon ended the connection.", 0);
    } catch (cause) {
      return silence.signal.aborted
        ? new ApiError(`The daemon said nothing for ${silenceMs / 1000} s.`, 0, undefined, { cause })
        : ApiError.unreachable(cause);
    } finally {
      clearTimeout(timer);
      // Of what was not read to its end, as after a message that is too long.
      silence.abort();
    }
  }

  async #read(body: ReadableStream<Uint8Array>, heard: () => void): Promise<void> {
    let live = false;
    let pending = 0;
    const parser = createParser({
      onEvent: (message) => {
        pending = 0;
        if (!live) {
          live = true;
          this.#failures = 0;
          this.#options.onLive();
        }
        this.#options.onMessage(message);
        // After it was taken in: one that could not be is asked for again.
        if (message.id !== undefined && message.id !== "") this.#lastEventId = message.id;
      },
    });
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const text = decoder.decode(value, { stream: true });
      pending += text.length;
      if (pending > MAX_MESSAGE_CHARS) throw new Error("a message has no end");
      parser.feed(text);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    }).then(() => {
      this.#hurry = undefined;
    });
  }
}
