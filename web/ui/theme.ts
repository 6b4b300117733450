import { useEffect, useState } from "preact/hooks";

const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "vm-substrate-theme";

function keptTheme(): Theme {
  const kept = localStorage.getItem(KEY);
  return THEMES.find((theme) => theme === kept) ?? "system";
}

export function applyTheme(theme: Theme = keptTheme()): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** The reader's choice, and what sets the next one. */
export function useTheme(): readonly [Theme, () => void] {
  const [theme, setTheme] = useState(keptTheme);
  const next = () => {
    const following = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
    localStorage.setItem(KEY, following);
    applyTheme(following);
    setTheme(following);
  };
  return [theme, next];
}

/** Changes when colours do: what is drawn on a canvas must then be drawn again. */
export function useColourScheme(): string {
  const read = () => document.documentElement.dataset.theme ?? (DARK.matches ? "dark" : "light");
  const [scheme, setScheme] = useState(read);
  useEffect(() => {
    const look = () => setScheme(read());
    const observer = new MutationObserver(look);
    observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    DARK.addEventListener("change", look);
    return () => {
      observer.disconnect();
      DARK.removeEventListener("change", look);
    };
  }, []);
  return scheme;
}

const DARK = matchMedia("(prefers-color-scheme: dark)");
