import type { DaemonEvent, EventPayload, EventType } from "../api/index.ts";
import { newId } from "../lib/core/index.ts";

/** How many events can be asked for again, and what they take as they are sent. */
const KEPT_EVENTS = 10_000;
const KEPT_BYTES = 2 * 1024 ** 2;

/** An event, and its data as it is sent: the same text for everybody. */
export type LoggedEvent = DaemonEvent & { readonly text: string };
export type EventListener = (event: LoggedEvent) => void;

/** What happened, in order, numbered: whoever lost the connection continues where it was. */
export class EventLog {
  /** Numbers of another daemon's life mean nothing here. */
  readonly #epoch = newId();
  readonly #listeners = new Set<EventListener>();
  readonly #kept: LoggedEvent[] = [];
  #keptBytes = 0;
  #count = 0;

  /** The id of the last event. */
  get lastId(): string {
    return this.#id(this.#count);
  }

  add<Type extends EventType>(type: Type, data: EventPayload<Type>): void {
    this.#count++;
    const at = new Date().toISOString();
    const text = JSON.stringify({ type, at, data });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a generic member of the union
    const event = { id: this.#id(this.#count), type, at, data, text } as LoggedEvent;
    this.#kept.push(event);
    this.#keptBytes += text.length;
    if (this.#kept.length > KEPT_EVENTS || this.#keptBytes > KEPT_BYTES) this.#forget();
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        process.emitWarning(error instanceof Error ? error : String(error));
      }
    }
  }

  /** What came after the event of that id; undefined when that is not known any more. */
  since(id: string): readonly LoggedEvent[] | undefined {
    const number = id.startsWith(`${this.#epoch}-`) ? id.slice(this.#epoch.length + 1) : "";
    const seen = Number(number);
    if (!/^\d{1,15}$/.test(number) || seen > this.#count) return undefined;
    const missed = this.#count - seen;
    return missed > this.#kept.length ? undefined : this.#kept.slice(this.#kept.length - missed);
  }

  /** The last events that are wanted, the oldest first. */
  last(count: number, wants: (event: LoggedEvent) => boolean): readonly LoggedEvent[] {
    return count === 0 ? [] : this.#kept.filter(wants).slice(-count);
  }

  /** @returns the end of it */
  listen(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A tenth at a time, for moving the others costs something. */
  #forget(): void {
    const most = { events: KEPT_EVENTS * 0.9, bytes: KEPT_BYTES * 0.9 };
    let forgotten = 0;
    for (const { text } of this.#kept) {
      if (this.#kept.length - forgotten <= most.events && this.#keptBytes <= most.bytes) break;
      this.#keptBytes -= text.length;
      forgotten++;
    }
    this.#kept.splice(0, forgotten);
  }

  #id(count: number): string {
    return `${this.#epoch}-${count}`;
  }
}
