import { useState } from "preact/hooks";
import { PhaseBar, phaseClass } from "../charts/phase-bar.tsx";
import { formatMs } from "../format/units.ts";
import { PHASES } from "../state/phases.ts";
import { Card } from "../ui/card.tsx";
import { Skeleton } from "../ui/skeleton.tsx";
import { usePage, useSelect } from "./page-context.ts";

/** Where the time of the latest activations went. */
export function Activations() {
  const { choose } = usePage();
  const activations = useSelect((state) => state.activations);
  const heard = useSelect((state) => state.vms !== undefined);
  const [own, setOwn] = useState(false);
  const longest = Math.max(1, ...activations.map(({ timings }) => timings.totalMs));
  const seen = new Set(
    activations.flatMap(({ timings }) => PHASES.filter((phase) => (timings.phasesMs[phase] ?? 0) > 0)),
  );
  const scale = (
    <button type="button" class="toggle" aria-pressed={own} onClick={() => setOwn(!own)}>
      each to its own scale
    </button>
  );
  return (
    <Card title="Latest activations" class="activations-card" aside={scale}>
      {!heard && <Skeleton lines={6} />}
      {heard && activations.length === 0 && (
        <p class="empty">Nothing was activated yet. Each VM will show here where its time went.</p>
      )}
      <ol class="activations">
        {activations.map((vm) => (
          <li key={vm.id}>
            <button type="button" class="link" onClick={() => choose(vm.id)}>
              {vm.hostname}
            </button>
            <PhaseBar vm={vm} scaleMs={own ? Math.max(vm.timings.totalMs, 0.001) : longest} />
            <span class="number">{formatMs(vm.timings.totalMs)}</span>
          </li>
        ))}
      </ol>
      {activations.length > 0 && (
        <ul class="legend" aria-label="Phases">
          {PHASES.filter((phase) => seen.has(phase)).map((phase) => (
            <li key={phase} class="legend-entry">
              <svg class="swatch" aria-hidden="true">
                <rect class={phaseClass(phase)} width="100%" height="100%" />
              </svg>
              {phase}
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
