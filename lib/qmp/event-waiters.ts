import type { QmpEvent } from "./qmp-events.ts";

interface EventWaiter {
  readonly name: string;
  readonly where: ((event: QmpEvent) => boolean) | undefined;
  readonly promise: Promise<QmpEvent>;
  readonly resolve: (event: QmpEvent) => void;
  readonly reject: (error: unknown) => void;
}

/** Those who wait for the next event of a name. Events that nobody waits for are not kept. */
export class EventWaiters {
  readonly #waiters = new Set<EventWaiter>();

  add(name: string, where: EventWaiter["where"]): EventWaiter {
    const resolvers = Promise.withResolvers<QmpEvent>();
    // It may be rejected before the caller awaits it.
    resolvers.promise.catch(() => {});
    const waiter = { name, where, ...resolvers };
    this.#waiters.add(waiter);
    return waiter;
  }

  remove(waiter: EventWaiter): void {
    this.#waiters.delete(waiter);
  }

  announce(event: QmpEvent): void {
    for (const waiter of this.#waiters) {
      if (waiter.name !== event.name) continue;
      try {
        if (waiter.where && !waiter.where(event)) continue;
        waiter.resolve(event);
      } catch (error) {
        waiter.reject(error);
      }
      this.#waiters.delete(waiter);
    }
  }

  rejectAll(error: unknown): void {
    for (const { reject } of this.#waiters) reject(error);
    this.#waiters.clear();
  }
}
