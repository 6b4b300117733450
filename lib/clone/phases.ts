/**
 * The parts of an activation, in order. Together they are all of it: what is between two marks belongs to the later.
 * `wait` is for others of the same call to make room; only so many clones are started at a time.
 */
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
export type Phase = (typeof PHASES)[number];

export interface Timings {
  /** Milliseconds by phase. */
  readonly phasesMs: Readonly<Record<Phase, number>>;
  readonly totalMs: number;
}

export class PhaseClock {
  readonly #startedAt: number;
  #markedAt: number;
  readonly #phasesMs = Object.fromEntries(PHASES.map((phase) => [phase, 0])) as Record<Phase, number>;

  /**
   * @param startedAt a `performance.now()` of when the caller asked
   * @param plannedAt when it was decided what to make; the time since then was waiting
   */
  constructor(startedAt: number, plannedAt: number) {
    this.#startedAt = startedAt;
    this.#markedAt = plannedAt;
    this.#phasesMs.plan = plannedAt - startedAt;
    this.mark("wait");
  }

  /** Counts the time since the last mark as `phase`. */
  mark(phase: Phase): void {
    const now = performance.now();
    this.#phasesMs[phase] += now - this.#markedAt;
    this.#markedAt = now;
  }

  timings(): Timings {
    return Object.freeze({ phasesMs: Object.freeze({ ...this.#phasesMs }), totalMs: this.#markedAt - this.#startedAt });
  }
}
