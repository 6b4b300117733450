/** One step of a build, in the order they happen. */
export interface BuildProgress {
  readonly step:
    | "download"
    | "unpack"
    | "disk"
    | "step"
    | "accelerator"
    | "boot"
    | "ready"
    | "generalize"
    | "miniaturize"
    | "freeze"
    | "digest"
    | "done";
  readonly message: string;
  readonly elapsedMs: number;
}

export type Progress = (step: BuildProgress["step"], message: string) => void;

/** Adds the time since the build's start to each report. */
export function progressReporter(report: ((progress: BuildProgress) => void) | undefined): Progress {
  const startedAt = performance.now();
  return (step, message) => report?.({ step, message, elapsedMs: Math.round(performance.now() - startedAt) });
}
