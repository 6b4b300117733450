import { useLayoutEffect } from "preact/hooks";

/** What a key does; `write` ones are for those who may change something. */
export interface Shortcut {
  readonly key: string;
  readonly does: string;
  readonly write?: true;
}

export const SHORTCUTS = [
  { key: "/", does: "Filter the VMs" },
  { key: "j", does: "To the next VM" },
  { key: "k", does: "To the VM before" },
  { key: "Enter", does: "Open the VM" },
  { key: "a", does: "Activate VMs", write: true },
  { key: "p", does: "Park or resume the open VM", write: true },
  { key: "r", does: "Release the open VM", write: true },
  { key: "t", does: "Light, dark, or as the system is" },
  { key: "?", does: "This list" },
  { key: "Esc", does: "Close what is open, leave a field" },
] as const satisfies readonly Shortcut[];

type Handled = Exclude<(typeof SHORTCUTS)[number]["key"], "Enter" | "Esc"> | "Escape";

/** Calls what a key stands for, but for keys that are typed into a field or belong to a dialog. */
export function useShortcuts(handlers: Readonly<Record<Handled, () => void>>): void {
  // Before the next key comes, which an effect after the next frame would miss: two keys typed at once are two steps.
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      // A modal dialog has the keyboard for itself.
      if (document.querySelector("dialog[open]") !== null) return;
      const { target, key } = event;
      if (target instanceof HTMLElement && target.matches("input, textarea, select") && key !== "Escape") return;
      if (!Object.hasOwn(handlers, key)) return;
      event.preventDefault();
      handlers[key as Handled]();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  });
}
