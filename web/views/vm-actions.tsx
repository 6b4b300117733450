import { useState } from "preact/hooks";
import type { VmView } from "../../api/index.ts";
import { Icon } from "../ui/icon.tsx";
import { type PageShared, usePage } from "./page-context.ts";

/** Parks a VM that runs, and lets one that is parked run. */
export async function parkOrResume(vm: VmView, { client, notify }: PageShared): Promise<void> {
  const parked = vm.state === "parked";
  try {
    await (parked ? client.resume(vm.id) : client.park(vm.id));
  } catch (error) {
    notify({ kind: "failed", text: `${vm.hostname} was not ${parked ? "resumed" : "parked"}.`, error });
  }
}

/** What can be done to a VM. @param words with the words, not only the signs */
export function VmActions({ vm, words = false }: { readonly vm: VmView; readonly words?: boolean }) {
  const page = usePage();
  const [busy, setBusy] = useState(false);
  if (!page.mayWrite) return null;
  const parked = vm.state === "parked";
  const kind = words ? "" : "icon-button";
  const park = () => {
    setBusy(true);
    void parkOrResume(vm, page).then(() => setBusy(false));
  };
  return (
    <span class="vm-actions">
      <button
        type="button"
        class={kind}
        aria-label={`${parked ? "Resume" : "Park"} ${vm.hostname}`}
        title={parked ? "Resume" : "Park"}
        disabled={busy}
        onClick={park}
      >
        <Icon name={parked ? "resume" : "park"} />
        {words && (parked ? "Resume" : "Park")}
      </button>
      <button
        type="button"
        class={`${kind} danger`}
        aria-label={`Release ${vm.hostname}`}
        title="Release"
        onClick={() => page.show({ kind: "release", vm })}
      >
        <Icon name="release" />
        {words && "Release"}
      </button>
    </span>
  );
}
