import type { VmView } from "../../api/index.ts";

/** The parts of an activation, in order; docs/ARCHITECTURE.md says what each is. */
export const PHASES = [
  "plan",
  "wait",
  "overlay",
  "spawn",
  "load",
  "personalise",
  "verify",
  "resize",
  "files",
  "link",
  "run",
] as const;

export interface PhaseSpan {
  readonly phase: string;
  /** Since the call. */
  readonly startMs: number;
  readonly ms: number;
}

/** The phases that took time, one after another. One that this page does not know comes last. */
export function phaseSpans({ timings }: Pick<VmView, "timings">): PhaseSpan[] {
  const known = new Set<string>(PHASES);
  const names = [...PHASES, ...Object.keys(timings.phasesMs).filter((name) => !known.has(name))];
  const spans: PhaseSpan[] = [];
  let startMs = 0;
  for (const phase of names) {
    const ms = timings.phasesMs[phase] ?? 0;
    if (ms > 0) spans.push({ phase, startMs, ms });
    startMs += ms;
  }
  return spans;
}
