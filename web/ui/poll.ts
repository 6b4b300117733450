import { useEffect, useState } from "preact/hooks";

export interface Polled<T> {
  readonly value: T | undefined;
  readonly error: unknown;
}

/**
 * Asks again and again while it is shown and the tab is looked at, one question at a time.
 * @param key what is asked about; another one begins anew
 */
export function usePoll<T>(key: string, everyMs: number, ask: (signal: AbortSignal) => Promise<T>): Polled<T> {
  const [polled, setPolled] = useState<Polled<T> & { readonly key: string }>();
  useEffect(() => {
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const next = async () => {
      if (document.visibilityState === "visible") {
        try {
          const value = await ask(ended.signal);
          setPolled({ key, value, error: undefined });
        } catch (error) {
          if (ended.signal.aborted) return;
          setPolled((before) => ({ key, value: before?.key === key ? before.value : undefined, error }));
        }
      }
      if (!ended.signal.aborted) timer = setTimeout(() => void next(), everyMs);
    };
    void next();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
    // `ask` is another function at each drawing; what it asks about is the key.
  }, [key, everyMs]);
  return polled?.key === key ? polled : { value: undefined, error: undefined };
}
