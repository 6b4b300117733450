import type { OperationView } from "../../api/index.ts";
import { isLong } from "../state/operations.ts";
import { comparePlain } from "../state/vm-list.ts";
import { Card } from "../ui/card.tsx";
import { Age, useNow } from "../ui/clock.tsx";
import { useSelect } from "./page-context.ts";

const SHOWN = 6;

/** Work that takes longer than a request: builds above all. */
export function Operations() {
  const operations = useSelect((state) => state.operations);
  const now = useNow();
  const listed = [...operations.values()].filter((one) => one.state !== "running" || isLong(one, now));
  const latest = listed.toSorted((a, b) => comparePlain(b.createdAt, a.createdAt)).slice(0, SHOWN);
  return (
    <Card title="Operations" aside={<span class="faint">work that takes long</span>}>
      {latest.length === 0 && <p class="empty">Nothing is under way.</p>}
      <ul class="operations">
        {latest.map((operation) => (
          <Operation key={operation.id} operation={operation} />
        ))}
      </ul>
    </Card>
  );
}

function Operation({ operation: { kind, state, createdAt, progress, error } }: { readonly operation: OperationView }) {
  return (
    <li>
      <span class={`vm-state ${state}`}>
        <i class="dot" />
        {kind}
      </span>
      <span class="operation-text">
        {error === null ? progressText(state, progress) : `${error.detail} (${error.code})`}
      </span>
      <span class="number faint">
        <Age since={createdAt} /> ago
      </span>
    </li>
  );
}

function progressText(state: OperationView["state"], progress: OperationView["progress"]): string {
  if (state !== "running" || progress === null) return state;
  const said = [progress.step, progress.message].filter((part) => typeof part === "string");
  return said.length === 0 ? state : said.join(": ");
}
