import { useState } from "preact/hooks";
import type { VmView } from "../../api/index.ts";
import { formatSpan } from "../format/units.ts";
import { parseDuration } from "../state/duration.ts";
import { ProblemText } from "../ui/problem.tsx";
import { usePage } from "./page-context.ts";

/** Sets when a VM expires, from now. */
export function ExtendForm({ vm }: { readonly vm: VmView }) {
  const { client, notify } = usePage();
  const [text, setText] = useState("30 min");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const submit = async () => {
    const ms = parseDuration(text);
    if (ms === undefined || ms === 0) {
      setError(new Error(`"${text}" is no length of time; write 90 s, 30 min, 2 h or 1 d.`));
      return;
    }
    setBusy(true);
    setError(undefined);
    try {
      await client.extend(vm.id, ms);
      notify({ kind: "done", text: `${vm.hostname} expires in ${formatSpan(ms)}.` });
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      class="inline-form"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <label>
        Expires, from now, in{" "}
        <input class="short" value={text} onInput={({ currentTarget }) => setText(currentTarget.value)} />
      </label>
      <button type="submit" disabled={busy}>
        Set
      </button>
      {error !== undefined && <ProblemText error={error} />}
    </form>
  );
}
