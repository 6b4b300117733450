import { PHASES, type Timings, type Vm } from "vm-substrate";
import { type Summary, summarize } from "./statistics.ts";

/** What one VM took: the caller's own clock, and the VM's account of it. */
export interface Sample {
  /** Around the caller's `await`. */
  readonly wallMs: number;
  readonly phasesMs: Timings["phasesMs"];
  /** What the phases do not have: from the VM being ready to the caller having it. */
  readonly handOverMs: number;
  /** Processor time of this Node process, user and system; QEMU's own is not in it. */
  readonly cpuMs: number;
}

export const ROWS = [...PHASES, "handOver"] as const;

/** Makes one VM and measures it. The caller releases it. */
export async function measure(make: () => Promise<readonly Vm[]>): Promise<{ vm: Vm; sample: Sample }> {
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  const [vm] = await make();
  const wallMs = performance.now() - startedAt;
  const { user, system } = process.cpuUsage(cpu);
  if (vm === undefined) throw new Error("bench: no VM was made");
  return { vm, sample: toSample(vm, wallMs, (user + system) / 1000) };
}

function toSample({ timings }: Vm, wallMs: number, cpuMs: number): Sample {
  return { wallMs, phasesMs: timings.phasesMs, handOverMs: wallMs - timings.totalMs, cpuMs };
}

export interface SampleSummary {
  readonly wallMs: Summary;
  readonly cpuMs: Summary;
  /** By phase, `handOver` last. */
  readonly phasesMs: Readonly<Record<string, Summary>>;
}

export function summarizeSamples(samples: readonly Sample[]): SampleSummary {
  return {
    wallMs: summarize(samples.map(({ wallMs }) => wallMs)),
    cpuMs: summarize(samples.map(({ cpuMs }) => cpuMs)),
    phasesMs: Object.fromEntries(
      ROWS.map((row) => [
        row,
        summarize(samples.map((one) => (row === "handOver" ? one.handOverMs : one.phasesMs[row]))),
      ]),
    ),
  };
}
