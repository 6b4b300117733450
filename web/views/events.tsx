import { useMemo, useState } from "preact/hooks";
import type { DaemonEvent } from "../../api/index.ts";
import { formatInstant, formatTime } from "../format/units.ts";
import { describeEvent, toneOf } from "../state/describe-event.ts";
import { Card } from "../ui/card.tsx";
import { usePage, useSelect } from "./page-context.ts";

/** Lines that are drawn; the log has more of each type. */
const MAX_LINES = 100;
/** Every claim is an operation as well. */
const HIDDEN_AT_FIRST: ReadonlySet<string> = new Set(["operation"]);

/** What happened since the page was opened, the latest first. */
export function Events() {
  const log = useSelect((state) => state.log);
  const [hidden, setHidden] = useState(HIDDEN_AT_FIRST);
  const counts = useMemo(() => countTypes(log), [log]);
  const lines = log.filter(({ type }) => !hidden.has(type)).slice(0, MAX_LINES);
  const toggle = (type: string) => {
    const next = new Set(hidden);
    if (!next.delete(type)) next.add(type);
    setHidden(next);
  };
  return (
    <Card title="Events" anchor="events" class="events" aside={<span class="faint">since this page was opened</span>}>
      {counts.length > 0 && (
        <fieldset class="chips">
          <legend class="unseen">Types that are shown</legend>
          {counts.map(([type, count]) => (
            <button key={type} type="button" class="chip" aria-pressed={!hidden.has(type)} onClick={() => toggle(type)}>
              {type} <span class="faint">{count}</span>
            </button>
          ))}
        </fieldset>
      )}
      {log.length === 0 && <p class="empty">Nothing has happened yet.</p>}
      {log.length > 0 && lines.length === 0 && <p class="empty">All types are hidden.</p>}
      <ol class="log">
        {lines.map((event) => (
          <Line key={`${event.id} ${event.at}`} event={event} />
        ))}
      </ol>
    </Card>
  );
}

function Line({ event }: { readonly event: DaemonEvent }) {
  const { choose } = usePage();
  return useMemo(() => {
    const id = "vm" in event.data ? event.data.vm.id : undefined;
    const text = describeEvent(event);
    return (
      <li>
        <time dateTime={event.at} title={formatInstant(event.at)}>
          {formatTime(event.at)}
        </time>
        <span class={`event-type ${toneOf(event)}`}>{event.type}</span>
        {id === undefined ? (
          <span class="log-text">{text}</span>
        ) : (
          <button type="button" class="log-text link plain" onClick={() => choose(id)}>
            {text}
          </button>
        )}
      </li>
    );
  }, [event, choose]);
}

function countTypes(log: readonly DaemonEvent[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const { type } of log) counts.set(type, (counts.get(type) ?? 0) + 1);
  return [...counts].toSorted(([a], [b]) => a.localeCompare(b));
}
