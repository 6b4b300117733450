import type { DaemonView } from "../../api/index.ts";
import { Icon } from "../ui/icon.tsx";
import type { Theme } from "../ui/theme.ts";
import { Connection } from "./connection.tsx";
import { usePage } from "./page-context.ts";

interface TopBarProps {
  readonly daemon: DaemonView | undefined;
  readonly theme: Theme;
  readonly onTheme: () => void;
  readonly onLeave: () => void;
}

const SECTIONS = ["Docks", "VMs", "Substrates", "Events"];

export function TopBar({ daemon, theme, onTheme, onLeave }: TopBarProps) {
  const { mayWrite, show } = usePage();
  return (
    <header class="top-bar">
      <a class="skip" href="#vms">
        To the VMs
      </a>
      <h1>
        <Icon name="logo" />
        vm-substrate
        {daemon !== undefined && <small>{daemon.version}</small>}
      </h1>
      <Connection />
      <nav aria-label="Parts of the page">
        {SECTIONS.map((name) => (
          <a key={name} href={`#${name.toLowerCase()}`}>
            {name}
          </a>
        ))}
      </nav>
      <div class="top-actions">
        {daemon?.scope === "read" && <span class="badge">read only</span>}
        <button
          type="button"
          class="icon-button"
          aria-label={`Colours: ${theme}. Change them`}
          title={`Colours: ${theme}`}
          onClick={onTheme}
        >
          <Icon name="theme" />
        </button>
        <button
          type="button"
          class="icon-button"
          aria-label="Keyboard shortcuts"
          onClick={() => show({ kind: "help" })}
        >
          <Icon name="help" />
        </button>
        <button
          type="button"
          class="icon-button"
          aria-label="Forget the token"
          title="Forget the token"
          onClick={onLeave}
        >
          <Icon name="leave" />
        </button>
        {(mayWrite || daemon === undefined) && (
          // Its place is kept until it is known whether it may be there.
          <button
            type="button"
            class={daemon === undefined ? "primary hidden" : "primary"}
            aria-label="Activate VMs"
            onClick={() => show({ kind: "activate" })}
          >
            <Icon name="activate" />
            <span class="wide-only">Activate</span>
          </button>
        )}
      </div>
    </header>
  );
}
