import { useRef, useState } from "preact/hooks";
import type { ActivateBody } from "../../api/index.ts";
import { formatCount, formatMs } from "../format/units.ts";
import { type ActivateFields, activateBody, substrateChoices } from "../state/activate-fields.ts";
import { ApiError } from "../transport/api-error.ts";
import { IdempotencyKey } from "../transport/idempotency-key.ts";
import { Dialog } from "../ui/dialog.tsx";
import { ProblemText } from "../ui/problem.tsx";
import { usePage, useSelect } from "./page-context.ts";

interface ActivateFormProps {
  /** The one that is chosen at first. */
  readonly substrate?: string | undefined;
  readonly onClose: () => void;
}

export function ActivateForm({ substrate, onClose }: ActivateFormProps) {
  const { client, notify } = usePage();
  const substrates = useSelect((state) => state.substrates) ?? [];
  const docks = useSelect((state) => state.docks);
  const choices = substrateChoices(substrates);
  const [fields, setFields] = useState<ActivateFields>({
    substrate: substrate ?? choices[0] ?? "",
    count: "1",
    hostname: "",
    labels: "",
    ttl: "",
    wait: false,
  });
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const key = useRef(new IdempotencyKey());
  // State is set at the next drawing; a second click may come before it.
  const underWay = useRef(false);

  const chosen = fields.substrate === "" ? (choices[0] ?? "") : fields.substrate;
  const ready = docks?.get(chosen)?.ready ?? 0;
  const set = (change: Partial<ActivateFields>) => setFields({ ...fields, ...change });

  const submit = async () => {
    if (underWay.current) return;
    const read = activateBody({ ...fields, substrate: chosen });
    if ("problem" in read) {
      setError(new Error(read.problem));
      return;
    }
    underWay.current = true;
    setBusy(true);
    setError(undefined);
    try {
      notify({ kind: "done", text: await activated(read.body) });
      onClose();
    } catch (problem) {
      // An answer says that nothing was made; without one nobody knows, and the same key finds out.
      if (problem instanceof ApiError && problem.code !== undefined) key.current.done();
      setError(problem);
      setBusy(false);
    } finally {
      underWay.current = false;
    }
  };

  const activated = async (body: ActivateBody): Promise<string> => {
    const startedAt = performance.now();
    const answer = await client.activate(body, key.current.for(body));
    key.current.done();
    if ("operation" in answer) return `${formatCount(body.count ?? 1, "VM")} are still being made; see Operations.`;
    const names = answer.outcomes.flatMap((outcome) => ("vm" in outcome ? [outcome.vm.hostname] : []));
    const who = names.length === 1 ? names[0] : formatCount(names.length, "VM");
    return `${who} activated, after ${formatMs(performance.now() - startedAt)} with the way there and back.`;
  };

  return (
    <Dialog title="Activate VMs" onClose={onClose}>
      <form
        class="form"
        aria-busy={busy}
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <label>
          <span>Substrate</span>
          <select value={chosen} onChange={({ currentTarget }) => set({ substrate: currentTarget.value })}>
            {choices.map((choice) => (
              <option key={choice} value={choice}>
                {choice}
              </option>
            ))}
          </select>
          <small>
            {ready === 0 ? "None is ready in its dock: clones are started." : `${ready} ready in its dock.`}
          </small>
        </label>
        <label>
          <span>Count</span>
          <input
            type="number"
            min="1"
            max="1024"
            required
            value={fields.count}
            onInput={({ currentTarget }) => set({ count: currentTarget.value })}
          />
          <small>All of them or none.</small>
        </label>
        <label>
          <span>Hostname</span>
          <input
            value={fields.hostname}
            placeholder={`${chosen.split("@")[0]}-{index}`}
            autocomplete="off"
            spellcheck={false}
            onInput={({ currentTarget }) => set({ hostname: currentTarget.value })}
          />
          <small>{"{index} is the lowest free number."}</small>
        </label>
        <label>
          <span>Time to live</span>
          <input
            value={fields.ttl}
            placeholder="for ever"
            autocomplete="off"
            onInput={({ currentTarget }) => set({ ttl: currentTarget.value })}
          />
          <small>90 s, 30 min, 2 h, 1 d</small>
        </label>
        <label class="full">
          <span>Labels</span>
          <input
            value={fields.labels}
            placeholder="match=17, tier=free"
            autocomplete="off"
            spellcheck={false}
            onInput={({ currentTarget }) => set({ labels: currentTarget.value })}
          />
        </label>
        <label class="full check">
          <input
            type="checkbox"
            checked={fields.wait}
            onChange={({ currentTarget }) => set({ wait: currentTarget.checked })}
          />
          <span>Wait in line while memory or addresses are short</span>
        </label>
        {error !== undefined && <ProblemText error={error} />}
        <footer class="form-foot full">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={busy || chosen === ""}>
            {busy ? "Activating…" : "Activate"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
