import { useState } from "preact/hooks";
import type { VmView } from "../../api/index.ts";
import { Dialog } from "../ui/dialog.tsx";
import { ProblemText } from "../ui/problem.tsx";
import { usePage } from "./page-context.ts";

export function ReleaseDialog({ vm, onClose }: { readonly vm: VmView; readonly onClose: () => void }) {
  const { client, notify } = usePage();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const release = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await client.release(vm.id);
      notify({ kind: "done", text: `${vm.hostname} was released.` });
      onClose();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return (
    <Dialog title={`Release ${vm.hostname}?`} onClose={onClose}>
      <div class="form">
        <p class="full">
          It ends as if its power were cut. Its memory and its disk are not kept; its address and its name are given
          back.
        </p>
        {error !== undefined && <ProblemText error={error} />}
        <footer class="form-foot full">
          <button type="button" onClick={onClose}>
            Keep it
          </button>
          <button type="button" class="primary danger" disabled={busy} onClick={() => void release()}>
            {busy ? "Releasing…" : "Release"}
          </button>
        </footer>
      </div>
    </Dialog>
  );
}
