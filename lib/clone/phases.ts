/** The parts of an activation, in order. Together they are all of it: what is between two marks belongs to the later. */
export const PHASES = ["plan", "overlay", "spawn", "load", "personalise", "verify", "link"] as const;
export type Phase = (typeof PHASES)[number];

export interface Timings {
  /** Milliseconds by phase. */
  readonly phasesMs: Readonly<Record<Phase, number>>;
  readonly totalMs: number;
}

export class PhaseClock {
  readonly #startedAt: number;
  #markedAt: number;
  readonly #phasesMs: Record<Phase, number> = {
    plan: 0,
    overlay: 0,
    spawn: 0,
    load: 0,
    personalise: 0,
    verify: 0,
    link: 0,
  };

  /** @param startedAt a `performance.now()` of when the caller asked */
  constructor(startedAt: number) {
    this.#startedAt = startedAt;
    this.#markedAt = startedAt;
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
