import { type ActivateSpec, PHASES, Pool, type Vm } from "vm-substrate";
import { describeMachine, markdownTable, writeResults } from "./results.ts";
import { type Summary, summarize } from "./statistics.ts";

const SUBSTRATE = "mini";
const DOCK_DEPTH = 8;
const MIB = 1024 * 1024;

const KINDS = ["primed", "restored", "empty dock"] as const;
type Kind = (typeof KINDS)[number];

/** Claims from a dock of primed and of restored clones, and activation with nothing docked; one VM at a time. */
export async function benchClaim(claims: number): Promise<void> {
  await using pool = await Pool.open();
  const substrate = await pool.build({ recipe: SUBSTRATE, onProgress: ({ message }) => console.error(message) });
  const spec: ActivateSpec = { substrate: SUBSTRATE, network: { fabric: "mcast", subnet: "10.77.0.0/24" } };
  const totals = {} as Record<Kind, Summary>;
  const phases = {} as Record<Kind, Record<string, number>>;
  const dockedMiB = {} as Record<Kind, number>;

  for (const kind of KINDS) {
    const depth = kind === "empty dock" ? 0 : DOCK_DEPTH;
    await pool.dock(SUBSTRATE, { min: depth, primed: kind === "primed" });
    const samples: Vm["timings"][] = [];
    for (let i = 0; i < claims; i++) {
      // The dock is full and at rest before each claim: the refill's own load is not what is measured here.
      await pool.docked(SUBSTRATE, { count: depth });
      await using vm = (await pool.activate(1, spec))[0] as Vm;
      samples.push(vm.timings);
      dockedMiB[kind] = (await vm.memory()).privateBytes / MIB;
    }
    totals[kind] = summarize(samples.map((timings) => timings.totalMs));
    phases[kind] = Object.fromEntries(
      PHASES.map((phase) => [phase, summarize(samples.map((one) => one.phasesMs[phase])).p50]),
    );
    console.error(`${kind}: p50 ${totals[kind].p50.toFixed(1)} ms`);
  }
  const machine = await describeMachine();
  await writeResults(
    "claim",
    { date: new Date().toISOString(), machine, substrate, totalMs: totals, phasesMs: phases, privateMiB: dockedMiB },
    `# Claims from the dock

${machine.cpu}, ${machine.processors} processors, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node};
QEMU ${substrate.qemu}, ${substrate.accelerator}; substrate ${substrate.name} ${substrate.version}. A dock of ${DOCK_DEPTH}, full before each claim.

From the call to a verified VM with the identity that was asked for, the right clock, and its link up. Milliseconds.

${markdownTable(
  ["", "n", "p50", "p95", "p99", "min", "max"],
  KINDS.map((kind) => {
    const { n, p50, p95, p99, min, max } = totals[kind];
    return [kind, n, p50, p95, p99, min, max];
  }),
)}

Median of each phase:

${markdownTable(
  ["phase", ...KINDS],
  PHASES.map((phase) => [phase, ...KINDS.map((kind) => phases[kind][phase] ?? 0)]),
)}

Private memory of a VM right after its claim, QEMU included, MiB: ${KINDS.map((kind) => `${kind} ${dockedMiB[kind].toFixed(1)}`).join(", ")}.
`,
  );
  console.error("written: bench/results/claim.json and claim.md");
}
