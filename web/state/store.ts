import { reduce } from "./reducer.ts";
import { type Action, INITIAL, type State } from "./state.ts";

/** Holds the state and tells who listens that it changed. */
export interface Store {
  readonly state: State;
  dispatch(...actions: readonly Action[]): void;
  /** @returns ends it */
  subscribe(listener: () => void): () => void;
}

/**
 * @param schedule when listeners are told. Hundreds of events may come at once, and drawing once for all of them is enough:
 *   the page gives a short timer.
 */
export function createStore(schedule: (tell: () => void) => void): Store {
  let state = INITIAL;
  let scheduled = false;
  const listeners = new Set<() => void>();
  const tell = () => {
    scheduled = false;
    for (const listener of listeners) listener();
  };
  return {
    get state() {
      return state;
    },
    dispatch(...actions) {
      const before = state;
      state = actions.reduce(reduce, state);
      if (state === before || scheduled) return;
      scheduled = true;
      schedule(tell);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
