import { createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import type { VmView } from "../../api/index.ts";
import type { State } from "../state/state.ts";
import type { Store } from "../state/store.ts";
import type { Client } from "../transport/client.ts";

/** What is shown above the page, one at a time. */
export type Overlay =
  | { readonly kind: "activate"; readonly substrate?: string }
  | { readonly kind: "release"; readonly vm: VmView }
  | { readonly kind: "help" };

export type Notice =
  | { readonly kind: "done"; readonly text: string }
  | { readonly kind: "failed"; readonly text: string; readonly error: unknown };

/** What all views share. */
export interface PageShared {
  readonly store: Store;
  readonly client: Client;
  /** With a token that only reads there is nothing that changes something. */
  readonly mayWrite: boolean;
  readonly show: (overlay: Overlay | undefined) => void;
  /** Opens the panel of a VM, or closes it. */
  readonly choose: (id: string | undefined) => void;
  readonly notify: (notice: Notice) => void;
}

export const PageContext = createContext<PageShared | undefined>(undefined);

export function usePage(): PageShared {
  const shared = useContext(PageContext);
  if (shared === undefined) throw new Error("a view is outside of the page");
  return shared;
}

/** A part of the state; draws again when that part is another. `select` must give the same object for the same state. */
export function useSelect<T>(select: (state: State) => T): T {
  const { store } = usePage();
  const [, drawAgain] = useState({});
  const selected = select(store.state);
  // What is selected may follow from a property, as the id of the chosen VM: the last drawing counts.
  const drawn = useRef({ select, selected });
  drawn.current = { select, selected };
  useEffect(() => {
    const look = () => {
      if (!Object.is(drawn.current.select(store.state), drawn.current.selected)) drawAgain({});
    };
    // What changed between drawing and here.
    look();
    return store.subscribe(look);
  }, [store]);
  return selected;
}
