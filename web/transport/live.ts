import type { DaemonEvent, Snapshot, Tick } from "../../api/index.ts";
import type { Action } from "../state/state.ts";
import type { Store } from "../state/store.ts";
import type { ApiError } from "./api-error.ts";
import type { Client } from "./client.ts";
import { EventStream } from "./event-stream.ts";

export interface LiveOptions {
  readonly base: string;
  readonly token: string;
  readonly client: Client;
  readonly store: Store;
  /** A connection is there: after an earlier one, perhaps to another daemon. */
  readonly onLive: () => void;
  readonly onRefused: (error: ApiError) => void;
  readonly now: () => number;
}

/** Keeps a store up to date with a daemon, until it is closed. */
export function openLive({ base, token, client, store, onLive, onRefused, now }: LiveOptions) {
  const closed = new AbortController();
  let lostAt: number | undefined;

  /** Asks for what no event carries whole. What fails comes with the next connection. */
  const fetchInto = (...loads: readonly (() => Promise<Action>)[]) => {
    for (const load of loads) {
      void load().then(
        (action) => {
          if (!closed.signal.aborted) store.dispatch(action);
        },
        () => undefined,
      );
    }
  };
  const substrates = async (): Promise<Action> => ({
    type: "substrates",
    substrates: await client.substrates(closed.signal),
  });
  const seconds = async (): Promise<Action> => ({ type: "stats", seconds: await client.seconds(closed.signal) });
  const operations = async (): Promise<Action> => ({
    type: "operations",
    operations: await client.operations(closed.signal),
  });

  const stream = new EventStream({
    url: `${base}/v1/events?snapshot=true&stats=true`,
    token,
    onLive() {
      lostAt = undefined;
      store.dispatch({ type: "stream", stream: { phase: "live" } });
      fetchInto(substrates, seconds, operations);
      onLive();
    },
    onWaiting(waitMs, error) {
      lostAt ??= now();
      const since = lostAt;
      store.dispatch({
        type: "stream",
        stream: { phase: "reconnecting", since, retryAt: now() + waitMs, why: error.message },
      });
    },
    onRefused,
    onMessage({ event, id, data }) {
      const body: unknown = JSON.parse(data);
      if (event === "snapshot") store.dispatch({ type: "snapshot", snapshot: body as Snapshot });
      else if (event === "tick") store.dispatch({ type: "tick", tick: body as Tick, now: now() });
      else {
        store.dispatch({ type: "event", event: { ...(body as object), id: id ?? "" } as DaemonEvent });
      }
    },
  });

  return {
    hurry: () => stream.hurry(),
    close() {
      closed.abort();
      stream.close();
    },
  };
}
