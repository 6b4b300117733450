import type { VmView } from "../../api/index.ts";
import { formatMs } from "../format/units.ts";
import { PHASES, phaseSpans } from "../state/phases.ts";

/** Phases one after another on one line. @param scaleMs what the whole width is */
export function PhaseBar({ vm, scaleMs }: { readonly vm: VmView; readonly scaleMs: number }) {
  const spans = phaseSpans(vm);
  const text = spans.map(({ phase, ms }) => `${phase} ${formatMs(ms)}`).join(", ");
  return (
    <svg class="phase-bar" role="img" aria-label={text}>
      {spans.map(({ phase, startMs, ms }) => (
        <rect
          key={phase}
          class={phaseClass(phase)}
          x={`${(startMs / scaleMs) * 100}%`}
          width={`${Math.max((ms / scaleMs) * 100, 0.15)}%`}
          height="100%"
        >
          <title>{`${phase} ${formatMs(ms)}`}</title>
        </rect>
      ))}
    </svg>
  );
}

/** One line for each phase, each where the one before it ended. */
export function Waterfall({ vm }: { readonly vm: VmView }) {
  const { totalMs } = vm.timings;
  return (
    <table class="waterfall">
      <caption class="unseen">Phases of the activation</caption>
      <tbody>
        {phaseSpans(vm).map(({ phase, startMs, ms }) => (
          <tr key={phase}>
            <th scope="row">{phase}</th>
            <td class="waterfall-bar">
              <svg aria-hidden="true">
                <rect
                  class={phaseClass(phase)}
                  x={`${(startMs / totalMs) * 100}%`}
                  width={`${Math.max((ms / totalMs) * 100, 0.4)}%`}
                  height="100%"
                />
              </svg>
            </td>
            <td class="number">{formatMs(ms)}</td>
          </tr>
        ))}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">all</th>
          <td />
          <td class="number">{formatMs(totalMs)}</td>
        </tr>
      </tfoot>
    </table>
  );
}

export function phaseClass(phase: string): string {
  const known: readonly string[] = PHASES;
  return `phase-${known.includes(phase) ? phase : "other"}`;
}
