import { useEffect, useMemo, useState } from "preact/hooks";
import type { DaemonView } from "../api/index.ts";
import { createStore } from "./state/store.ts";
import { ApiError } from "./transport/api-error.ts";
import { Client } from "./transport/client.ts";
import { openLive } from "./transport/live.ts";
import { forgetToken, keepToken, keptToken, tokenInFragment } from "./transport/token.ts";
import { ClockContext, createClock } from "./ui/clock.tsx";
import { Page } from "./views/page.tsx";
import { TokenForm } from "./views/token-form.tsx";

/** The page where it came from: its daemon. */
const BASE = "";

/** Asks for a token until there is one that is not refused. */
export function App() {
  const [token, setToken] = useState(initialToken);
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    // A link with a token that is pasted into a tab with this page changes the fragment and loads nothing.
    const look = () => {
      const given = takeFragment();
      if (given !== undefined) setToken(given);
    };
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  const leave = (why?: unknown) => {
    forgetToken(sessionStorage);
    setError(why);
    setToken(undefined);
  };
  if (token === undefined) {
    return (
      <TokenForm
        error={error}
        onToken={(given) => {
          keepToken(sessionStorage, given);
          setToken(given);
        }}
      />
    );
  }
  return <Session key={token} token={token} onLeave={leave} />;
}

function initialToken(): string | undefined {
  return takeFragment() ?? keptToken(sessionStorage);
}

/** The token of the address bar, which is then without it: it shall be in no history and no screenshot. */
function takeFragment(): string | undefined {
  const given = tokenInFragment(location.hash);
  if (given === undefined) return undefined;
  history.replaceState(null, "", location.pathname + location.search);
  keepToken(sessionStorage, given);
  return given;
}

interface SessionProps {
  readonly token: string;
  readonly onLeave: (why?: unknown) => void;
}

/** All that lives as long as one token is used. */
function Session({ token, onLeave }: SessionProps) {
  const client = useMemo(() => new Client({ base: BASE, token }), [token]);
  const store = useMemo(() => createStore(drawSoon), []);
  const clock = useMemo(() => createClock(() => Date.now() + store.state.skewMs), [store]);
  const [daemon, setDaemon] = useState<DaemonView>();
  useEffect(() => {
    const closed = new AbortController();
    const ask = () => {
      client.daemon(closed.signal).then(setDaemon, (error: unknown) => {
        if (error instanceof ApiError && error.status === 401) onLeave(error);
      });
    };
    const live = openLive({ base: BASE, token, client, store, onLive: ask, onRefused: onLeave, now: Date.now });
    const unsubscribe = store.subscribe(() => {
      document.documentElement.classList.toggle("stale", store.state.stream.phase === "reconnecting");
    });
    const hurry = () => {
      if (document.visibilityState === "visible") live.hurry();
    };
    addEventListener("online", hurry);
    document.addEventListener("visibilitychange", hurry);
    return () => {
      closed.abort();
      unsubscribe();
      live.close();
      removeEventListener("online", hurry);
      document.removeEventListener("visibilitychange", hurry);
      document.documentElement.classList.remove("stale");
    };
  }, [client, store]);
  return (
    <ClockContext.Provider value={clock}>
      <Page store={store} client={client} daemon={daemon} onLeave={() => onLeave()} />
    </ClockContext.Provider>
  );
}

/** So often at most, the page is drawn: bursts of claims are one change, and a tenth of a second is soon enough. */
const DRAW_EVERY_MS = 100;

function drawSoon(draw: () => void): void {
  setTimeout(draw, DRAW_EVERY_MS);
}
