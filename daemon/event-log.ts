import type { DaemonEvent, EventPayload, EventType } from "../api/index.ts";
import { newId } from "../lib/core/index.ts";

/** How many events can be asked for again. */
const KEPT_EVENTS = 10_000;

export type EventListener = (event: DaemonEvent) => void;

/** What happened, in order, numbered: whoever lost the connection continues where it was. */
export class EventLog {
  /** Numbers of another daemon's life mean nothing here. */
  readonly #epoch = newId();
  readonly #listeners = new Set<EventListener>();
  readonly #kept: DaemonEvent[] = [];
  #count = 0;

  /** The id of the last event. */
  get lastId(): string {
    return this.#id(this.#count);
  }

  add<Type extends EventType>(type: Type, data: EventPayload<Type>): void {
    this.#count++;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a generic member of the union
    const event = { id: this.#id(this.#count), type, at: new Date().toISOString(), data } as DaemonEvent;
    this.#kept.push(event);
    if (this.#kept.length > KEPT_EVENTS) this.#kept.splice(0, KEPT_EVENTS / 10);
    for (const listener of this.#listeners) listener(event);
  }

  /** What came after the event of that id; undefined when that is not known any more. */
  since(id: string): readonly DaemonEvent[] | undefined {
    const [epoch, number] = id.split("-");
    const seen = Number(number);
    if (epoch !== this.#epoch || !Number.isSafeInteger(seen) || seen < 0 || seen > this.#count) return undefined;
    const missed = this.#count - seen;
    return missed > this.#kept.length ? undefined : this.#kept.slice(this.#kept.length - missed);
  }

  /** The last events that are wanted, the oldest first. */
  last(count: number, wants: (event: DaemonEvent) => boolean): readonly DaemonEvent[] {
    return count === 0 ? [] : this.#kept.filter(wants).slice(-count);
  }

  /** @returns the end of it */
  listen(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #id(count: number): string {
    return `${this.#epoch}-${count}`;
  }
}
