import { useMemo, useRef, useState } from "preact/hooks";
import type { DaemonView } from "../../api/index.ts";
import type { Store } from "../state/store.ts";
import type { Client } from "../transport/client.ts";
import { useShortcuts } from "../ui/shortcuts.ts";
import { useTheme } from "../ui/theme.ts";
import { ActivateForm } from "./activate-form.tsx";
import { Activations } from "./activations.tsx";
import { StaleMark } from "./connection.tsx";
import { Docks } from "./docks.tsx";
import { Events } from "./events.tsx";
import { Help } from "./help.tsx";
import { History } from "./history.tsx";
import { Notices, type ShownNotice } from "./notices.tsx";
import { Operations } from "./operations.tsx";
import { type Overlay, PageContext, type PageShared } from "./page-context.ts";
import { ReleaseDialog } from "./release-dialog.tsx";
import { Substrates } from "./substrates.tsx";
import { Tiles } from "./tiles.tsx";
import { TopBar } from "./top-bar.tsx";
import { parkOrResume } from "./vm-actions.tsx";
import { VmPanel } from "./vm-panel.tsx";
import { Vms } from "./vms.tsx";

const MAX_NOTICES = 4;

interface PageProps {
  readonly store: Store;
  readonly client: Client;
  /** `undefined` until it has answered. */
  readonly daemon: DaemonView | undefined;
  readonly onLeave: () => void;
}

export function Page({ store, client, daemon, onLeave }: PageProps) {
  const [overlay, show] = useState<Overlay>();
  const [chosen, setChosen] = useState<string>();
  const [notices, setNotices] = useState<readonly ShownNotice[]>([]);
  const [theme, nextTheme] = useTheme();
  const lastNotice = useRef(0);
  const filter = useRef<HTMLInputElement>(null);
  const mayWrite = daemon?.scope === "write";

  const shared = useMemo<PageShared>(() => {
    let opener: Element | null = null;
    return {
      store,
      client,
      mayWrite,
      show,
      choose(id) {
        if (id !== undefined) opener = document.activeElement;
        else if (opener instanceof HTMLElement) opener.focus();
        setChosen(id);
      },
      notify(notice) {
        lastNotice.current += 1;
        const id = lastNotice.current;
        setNotices((before) => [...before, { ...notice, id }].slice(-MAX_NOTICES));
      },
    };
  }, [store, client, mayWrite]);

  const chosenVm = () => (chosen === undefined ? undefined : store.state.vms?.get(chosen));
  useShortcuts({
    "/": () => {
      filter.current?.focus();
      filter.current?.select();
    },
    a: () => mayWrite && show({ kind: "activate" }),
    j: () => moveRow(1),
    k: () => moveRow(-1),
    p: () => {
      const vm = chosenVm();
      if (mayWrite && vm !== undefined) void parkOrResume(vm, shared);
    },
    r: () => {
      const vm = chosenVm();
      if (mayWrite && vm !== undefined) show({ kind: "release", vm });
    },
    t: nextTheme,
    "?": () => show({ kind: "help" }),
    Escape: () => {
      if (document.activeElement === filter.current) filter.current?.blur();
      else if (chosen !== undefined) shared.choose(undefined);
    },
  });

  const close = () => show(undefined);
  return (
    <PageContext.Provider value={shared}>
      <TopBar daemon={daemon} theme={theme} onTheme={nextTheme} onLeave={onLeave} />
      <main class="page">
        <StaleMark />
        <Tiles />
        <div class="halves">
          <History />
        </div>
        <div class="halves">
          <div class="stack">
            <Docks />
            <Operations />
          </div>
          <Activations />
        </div>
        <Vms chosen={chosen} filterRef={filter} />
        <div class="halves">
          <Substrates />
          <Events />
        </div>
      </main>
      {chosen !== undefined && <VmPanel id={chosen} />}
      {overlay?.kind === "activate" && <ActivateForm substrate={overlay.substrate} onClose={close} />}
      {overlay?.kind === "release" && <ReleaseDialog vm={overlay.vm} onClose={close} />}
      {overlay?.kind === "help" && <Help onClose={close} />}
      <Notices notices={notices} onGone={(id) => setNotices((before) => before.filter((one) => one.id !== id))} />
    </PageContext.Provider>
  );
}

/** The focus goes to the row after or before the one that has it; from elsewhere to the first. */
function moveRow(step: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-vm]")];
  const at = rows.indexOf(document.activeElement as HTMLElement);
  const next = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + step))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
