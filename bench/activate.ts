import { type ActivateSpec, PHASES, Pool, type Vm } from "vm-substrate";
import type { Context } from "./context.ts";
import { describeMachine, markdownTable, writeResults } from "./results.ts";
import { type Summary, summarize } from "./statistics.ts";

const SUBSTRATE = "mini";
const ACTIVATIONS_PER_ROUND = 5;
/** VMs that run at the same time while memory is measured. */
const MEMORY_VMS = 8;
const MIB = 1024 * 1024;

const KINDS = ["cold boot", "activation, helper", "activation, agent only"] as const;
type Kind = (typeof KINDS)[number];

interface Sample {
  readonly totalMs: number;
  readonly phasesMs: Readonly<Record<string, number>>;
  readonly clockOffsetMs: number;
}

/**
 * Cold boot and activation to the same state: hostname, address, MAC, keys, entropy and clock set, verified, link up.
 * Interleaved in one run, one VM at a time, so that both see the same machine.
 */
export async function benchActivate(rounds: number, { stateDir, signal }: Context): Promise<void> {
  await using pool = await Pool.open({ stateDir });
  const substrate = await pool.build({
    recipe: SUBSTRATE,
    signal,
    onProgress: ({ message }) => console.error(message),
  });
  const samples: Record<Kind, Sample[]> = { "cold boot": [], "activation, helper": [], "activation, agent only": [] };
  const spec: ActivateSpec = { substrate: SUBSTRATE, network: { fabric: "mcast", subnet: "10.77.0.0/24" } };

  await sample(() => pool.activate(1, spec, { signal })); // not counted: the first run of this program's own code
  for (let round = 1; round <= rounds; round++) {
    console.error(`round ${round} of ${rounds}`);
    samples["cold boot"].push(await sample(() => pool.coldBoot(1, spec, { signal })));
    for (let i = 0; i < ACTIVATIONS_PER_ROUND; i++) {
      samples["activation, helper"].push(await sample(() => pool.activate(1, spec, { signal })));
      samples["activation, agent only"].push(
        await sample(() => pool.activate(1, { ...spec, channel: "agent" }, { signal })),
      );
    }
  }
  const memory = await measureMemory(pool, spec);

  const totals = summaries(samples, (one) => one.totalMs);
  const phases = Object.fromEntries(
    PHASES.map((phase) => [phase, summaries(samples, (one) => one.phasesMs[phase] ?? 0)]),
  );
  const clockOffsetMs = summarize(samples["activation, helper"].map((one) => Math.abs(one.clockOffsetMs)));
  const ratio = totals["cold boot"].p50 / totals["activation, helper"].p50;
  const machine = await describeMachine();
  await writeResults(
    "activate",
    {
      date: new Date().toISOString(),
      machine,
      substrate,
      rounds,
      ratio,
      totalMs: totals,
      phasesMs: phases,
      clockOffsetMs,
      memory,
    },
    report(machine, substrate, totals, phases, ratio, clockOffsetMs, memory),
  );
}

async function sample(make: () => Promise<Vm[]>): Promise<Sample> {
  const [vm] = await make();
  if (vm === undefined) throw new Error("no VM was made");
  await using running = vm;
  const { totalMs, phasesMs } = running.timings;
  return { totalMs, phasesMs, clockOffsetMs: await clockOffset(running) };
}

/** How far the guest's clock is off, within the time that asking takes. 0 while it lies between the two readings. */
async function clockOffset(vm: Vm): Promise<number> {
  await vm.exec(["true"]); // the first program in a clone runs on cold code
  const before = Date.now();
  const { stdout } = await vm.exec(["adjtimex"]);
  const after = Date.now();
  const seconds = Number(/time\.tv_sec:\s*(\d+)/.exec(stdout)?.[1]);
  const fraction = Number(/time\.tv_usec:\s*(\d+)/.exec(stdout)?.[1]);
  const guestMs = seconds * 1000 + fraction / (fraction >= 1_000_000 ? 1_000_000 : 1000);
  return guestMs < before ? guestMs - before : Math.max(0, guestMs - after);
}

async function measureMemory(pool: Pool, spec: ActivateSpec) {
  const vms = await pool.activate(MEMORY_VMS, spec);
  const measured = await Promise.all(vms.map((vm) => vm.memory()));
  await Promise.all(vms.map((vm) => vm.release()));
  return {
    vms: MEMORY_VMS,
    pssMiB: summarize(measured.map(({ pssBytes }) => pssBytes / MIB)),
    privateMiB: summarize(measured.map(({ privateBytes }) => privateBytes / MIB)),
  };
}

function summaries(samples: Record<Kind, Sample[]>, of: (sample: Sample) => number): Record<Kind, Summary> {
  return Object.fromEntries(KINDS.map((kind) => [kind, summarize(samples[kind].map(of))])) as Record<Kind, Summary>;
}

function report(
  machine: Awaited<ReturnType<typeof describeMachine>>,
  substrate: Awaited<ReturnType<Pool["build"]>>,
  totals: Record<Kind, Summary>,
  phases: Record<string, Record<Kind, Summary>>,
  ratio: number,
  clockOffsetMs: Summary,
  memory: Awaited<ReturnType<typeof measureMemory>>,
): string {
  const total = KINDS.map((kind) => {
    const { n, p50, p95, p99, min, max } = totals[kind];
    return [kind, n, p50, p95, p99, min, max];
  });
  const byPhase = PHASES.map((phase) => [phase, ...KINDS.map((kind) => phases[phase]?.[kind].p50 ?? 0)]);
  return `# Activation against cold boot

${machine.cpu}, ${machine.processors} processors, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node};
QEMU ${substrate.qemu}, ${substrate.accelerator}; substrate ${substrate.name} ${substrate.version},
${substrate.memory.assignedBytes / MIB} MiB assigned, ${Math.round(substrate.memory.residentBytes / MIB)} MiB in its RAM file.

Both end in the same verified state. One VM at a time, interleaved in one run. Milliseconds.

${markdownTable(["", "n", "p50", "p95", "p99", "min", "max"], total)}

At p50 an activation through the helper is **${ratio.toFixed(1)} times** faster than a cold boot.

Median of each phase (a cold boot's \`load\` is its boot):

${markdownTable(["phase", ...KINDS], byPhase)}

The clock, asked by a program in the guest and so within the time of an exec: off by p50 ${clockOffsetMs.p50.toFixed(1)} ms,
max ${clockOffsetMs.max.toFixed(1)} ms.

Memory of ${memory.vms} clones running at once, QEMU included: Pss p50 ${memory.pssMiB.p50.toFixed(1)} MiB, private p50 ${memory.privateMiB.p50.toFixed(1)} MiB.
`;
}
