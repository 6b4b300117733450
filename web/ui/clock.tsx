import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { formatInstant, spanParts } from "../format/units.ts";

/** One timer for all ages of the page. `now` is the daemon's clock, as far as it is known. */
export interface Clock {
  readonly now: () => number;
  /** @returns ends it */
  readonly subscribe: (listener: () => void) => () => void;
}

export function createClock(now: () => number): Clock {
  const listeners = new Set<() => void>();
  let timer: ReturnType<typeof setInterval> | undefined;
  const tell = () => {
    for (const listener of listeners) listener();
  };
  return {
    now,
    subscribe(listener) {
      listeners.add(listener);
      timer ??= setInterval(tell, 1000);
      return () => {
        listeners.delete(listener);
        if (listeners.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      };
    },
  };
}

export const ClockContext = createContext<Clock>({ now: Date.now, subscribe: () => () => undefined });

/** The time, anew each second. */
export function useNow(): number {
  const clock = useContext(ClockContext);
  const [now, setNow] = useState(clock.now);
  useEffect(() => clock.subscribe(() => setNow(clock.now())), [clock]);
  return now;
}

/** Two units, or one where there is little room. */
function Span({ ms }: { readonly ms: number }) {
  const [first, second] = spanParts(ms);
  return (
    <>
      {first}
      {second !== undefined && <span class="second-unit"> {second}</span>}
    </>
  );
}

/** How long ago it was. */
export function Age({ since }: { readonly since: string }) {
  const now = useNow();
  return (
    <time dateTime={since} title={formatInstant(since)}>
      <Span ms={now - Date.parse(since)} />
    </time>
  );
}

/** How long it is until then. */
export function Remaining({ until }: { readonly until: string | null }) {
  const now = useNow();
  if (until === null) return <span class="faint">never</span>;
  const left = Date.parse(until) - now;
  return (
    <time dateTime={until} title={formatInstant(until)} class={left < 60_000 ? "warn" : undefined}>
      {left <= 0 ? "now" : <Span ms={left} />}
    </time>
  );
}
