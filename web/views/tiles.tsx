import type { ComponentChildren } from "preact";
import { formatBytes, formatMs, formatNumber, percentOf, UNKNOWN } from "../format/units.ts";
import { dockTotals, summaryOf } from "../state/summary.ts";
import { useSelect } from "./page-context.ts";

/** The figures that one looks at first. */
export function Tiles() {
  const vms = useSelect((state) => state.vms);
  const docks = useSelect((state) => state.docks);
  const seconds = useSelect((state) => state.seconds);
  const memory = useSelect((state) => state.memory);
  const summary = seconds === undefined ? undefined : summaryOf(seconds);
  const totals = docks === undefined ? undefined : dockTotals(docks.values());
  const parked = [...(vms?.values() ?? [])].filter(({ state }) => state === "parked").length;
  const unresponsive = [...(vms?.values() ?? [])].filter(({ state }) => state === "unresponsive").length;
  const latest = summary?.latest;
  return (
    <section class="tiles" aria-label="In short">
      <Tile
        name="VMs"
        value={vms === undefined ? undefined : formatNumber(vms.size)}
        note={unresponsive > 0 ? `${unresponsive} unresponsive` : `${parked} parked`}
        tone={unresponsive > 0 ? "warn" : undefined}
      />
      <Tile
        name="Ready in docks"
        value={totals === undefined ? undefined : formatNumber(totals.ready)}
        note={totals === undefined ? "" : `target ${totals.target}, ${totals.starting} starting`}
      />
      <Tile
        name="Claims, last minute"
        value={summary === undefined ? undefined : formatNumber(summary.claims)}
        note={summary === undefined ? "" : `${(summary.claims / 60).toFixed(2)} per second`}
      />
      <Tile
        name="Latest activation, p50"
        value={latest === undefined ? seconds && UNKNOWN : formatMs(latest.p50Ms ?? 0)}
        note={latest === undefined ? "none in 10 min" : `p99 ${formatMs(latest.p99Ms ?? 0)}`}
      />
      <Tile
        name="Failures, last minute"
        value={summary === undefined ? undefined : formatNumber(summary.failures)}
        note="VMs that were not made"
        tone={(summary?.failures ?? 0) > 0 ? "bad" : undefined}
      />
      <Tile
        name="Memory of all clones"
        value={memory === undefined ? undefined : formatBytes(memory.bytes)}
        note={
          memory === undefined
            ? ""
            : memory.budgetBytes === null
              ? `${memory.clones} clones`
              : `of ${formatBytes(memory.budgetBytes)}`
        }
      >
        {memory !== undefined && memory.budgetBytes !== null && (
          <svg class="tile-bar" aria-hidden="true">
            <rect class="track" width="100%" height="100%" />
            <rect class="fill" width={`${percentOf(memory.bytes, memory.budgetBytes)}%`} height="100%" />
          </svg>
        )}
      </Tile>
    </section>
  );
}

interface TileProps {
  readonly name: string;
  /** `undefined`: not heard yet. */
  readonly value: string | undefined;
  readonly note: string;
  readonly tone?: "warn" | "bad" | undefined;
  readonly children?: ComponentChildren;
}

function Tile({ name, value, note, tone, children }: TileProps) {
  return (
    <dl class={`tile ${tone ?? ""}`}>
      <dt>{name}</dt>
      <dd class="tile-value">{value ?? <span class="skeleton-text" />}</dd>
      <dd class="tile-note">{note}</dd>
      {children}
    </dl>
  );
}
