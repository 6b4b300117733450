import { setTimeout as delay } from "node:timers/promises";
import type { Pool, Vm } from "vm-substrate";
import { lineChart } from "./chart.ts";
import {
  type Context,
  check,
  emptyDock,
  Failures,
  fillDock,
  openPool,
  progress,
  release,
  SPEC,
  SUBSTRATE,
} from "./context.ts";
import { availableMiB, type MemoryOfClones, memoryOfClones } from "./memory.ts";
import { conditions, describeMachine, markdownTable, summaryTable, writeChart, writeResults } from "./results.ts";
import { measure } from "./samples.ts";
import { type Summary, summarize } from "./statistics.ts";

const STEPS = [1, 2, 4, 8, 16, 32, 64, 128, 200, 300];
const OTHER_COUNTS = [8, 32];
const IDLE_MS = 10_000;
/** A docked clone is admitted when there is room for it running. */
const MIB_PER_CLONE = 64;
const MIB_IN_RESERVE = 512;
const UNIQUE = ["hostname", "address", "mac", "machineId", "sshHostKey"] as const;

export interface DensityOptions {
  /** Largest number of clones. */
  readonly max: number;
  /** Claims one at a time at each number. */
  readonly claimsPerStep: number;
  /** VMs of one call when all are claimed. Two calls are under way at a time. */
  readonly batch: number;
}

interface Step extends PerClone {
  readonly availableMiB: number;
  /** For each clone that was added since the step before; two are started at a time on two processors. */
  readonly msPerDockedClone: number;
  readonly claimMs: Summary;
}

interface PerClone {
  readonly clones: number;
  readonly pssMiB: number;
  readonly privateMiB: number;
  readonly originsPssMiB: number;
  /** What `pool.docks` says of all of them together. */
  readonly dockMemoryMiB?: number | undefined;
}

/** How much memory a clone takes, and how long a claim, against how many there are. */
export async function benchDensity(options: DensityOptions, context: Context): Promise<void> {
  const machine = await describeMachine();
  await using opened = await openPool(context);
  const { pool, substrate } = opened;
  const failures = new Failures();
  const { steps, stoppedBecause } = await restoredSteps(pool, options, context);
  const all = await claimAll(pool, steps.at(-1)?.clones ?? 0, options, failures, context);
  const others = await otherKinds(pool, options, context);

  await writeResults(
    "density",
    {
      date: new Date().toISOString(),
      machine,
      substrate,
      options,
      steps,
      stoppedBecause,
      all,
      others,
      failures: failures.messages,
    },
    `# Density

${conditions(machine, substrate)}

## Restored clones in a dock

MiB for each clone, QEMU and its share of the fork server and the zygote included: Pss counts a page that several have once over all of
them, private is what only one has. Time for each further docked clone, and of ${options.claimsPerStep} claims one at a time from a dock so deep
(\`await pool.activate(1, ...)\`, fabric \`mcast\`), milliseconds. MemAvailable after the filling.

${markdownTable(
  ["clones", "Pss", "private", "dock's own account", "MemAvailable, MiB", "ms per clone", "claim p50", "claim max"],
  steps.map((step) => [
    step.clones,
    step.pssMiB,
    step.privateMiB,
    step.dockMemoryMiB === undefined ? "" : step.dockMemoryMiB / step.clones,
    Math.round(step.availableMiB),
    step.msPerDockedClone,
    step.claimMs.p50,
    step.claimMs.max,
  ]),
)}
${stoppedBecause === undefined ? "" : `\nStopped early: ${stoppedBecause}\n`}
![memory of a clone and time of a claim](../../docs/density.svg)

## All of them claimed

${all.vms} of ${all.wanted} VMs, ${all.fromDock} of them from the dock, by \`activate(${options.batch})\`, two calls under way at a time, in ${Math.round(all.totalMs)} ms: ${(all.totalMs / all.vms).toFixed(1)} ms for each. All run at the
same time, and differ in each of ${UNIQUE.join(", ")}.

${summaryTable({ "one call, ms": all.callMs, "one VM, from its call, ms": all.vmMs })}

Running right after, each: Pss ${all.running.pssMiB.toFixed(1)} MiB, private ${all.running.privateMiB.toFixed(1)} MiB.

## Other kinds

${markdownTable(
  ["kind", "clones", "Pss", "private"],
  others.map(({ kind, clones, pssMiB, privateMiB }) => [kind, clones, pssMiB, privateMiB]),
)}

\`running\`: claimed from primed clones, and idle for ${IDLE_MS / 1000} s.
${failures.markdown}`,
  );
  const against = (of: (step: Step) => number) => steps.map((step) => [step.clones, of(step)] as const);
  const memory = [
    { name: "Pss", points: against((step) => step.pssMiB) },
    { name: "private", points: against((step) => step.privateMiB) },
  ];
  const claims = [{ name: "p50", points: against((step) => step.claimMs.p50) }];
  const chart = lineChart(
    "Memory of a docked clone and time of a claim, against the number of clones",
    "docked clones",
    [
      { title: "Memory of a restored clone, MiB", series: memory },
      { title: "Claim of a restored clone, ms", series: claims },
    ],
  );
  await writeChart("density", chart);
  failures.throwIfAny();
}

async function restoredSteps(pool: Pool, { max, claimsPerStep }: DensityOptions, context: Context) {
  const { signal } = context;
  const steps: Step[] = [];
  let stoppedBecause: string | undefined;
  for (const count of [...STEPS.filter((step) => step < max), max]) {
    const before = steps.at(-1)?.clones ?? 0;
    const available = await availableMiB();
    const needed = (count - before) * MIB_PER_CLONE + MIB_IN_RESERVE;
    if (available < needed) {
      stoppedBecause = `${count} clones: ${Math.round(available)} MiB are available, ${needed} MiB would be needed`;
      progress(`stopping early at ${before}; ${stoppedBecause}`);
      break;
    }
    const tookMs = await fillDock(pool, count, false, context);
    const memory = await perCloneMemory(context);
    check(memory.clones === count, `${memory.clones} processes for ${count} docked clones`);
    const dockMemoryMiB = pool.docks.find(({ substrate }) => substrate === SUBSTRATE)?.memoryMiB;
    const left = await availableMiB();
    const claims: number[] = [];
    for (let i = 0; i < claimsPerStep; i++) {
      const { vm, sample } = await measure(() => pool.activate(1, SPEC, { signal }));
      check(vm.origin === "docked", `the VM is ${vm.origin}`);
      claims.push(sample.wallMs);
      await release([vm]);
      await fillDock(pool, count, false, context);
    }
    const claimMs = summarize(claims);
    const msPerDockedClone = tookMs / (count - before);
    steps.push({ ...memory, dockMemoryMiB, availableMiB: left, msPerDockedClone, claimMs });
    const line = `Pss ${memory.pssMiB.toFixed(1)} MiB, ${msPerDockedClone.toFixed(0)} ms each, claim p50 ${claimMs.p50.toFixed(1)} ms`;
    progress(`${count} restored: ${line}, ${Math.round(left)} MiB available`);
  }
  check(steps.length > 0, stoppedBecause ?? "no step was made");
  return { steps, stoppedBecause };
}

/** Two calls are always under way, because the dock is filled again as soon as none is. */
async function claimAll(pool: Pool, count: number, { batch }: DensityOptions, failures: Failures, context: Context) {
  const { signal, stateDir } = context;
  const sizes = Array.from({ length: Math.ceil(count / batch) }, (_, i) => Math.min(batch, count - i * batch));
  const callMs: number[] = [];
  const vms: Vm[] = [];
  const startedAt = performance.now();
  const worker = async () => {
    for (let size = sizes.shift(); size !== undefined; size = sizes.shift()) {
      const calledAt = performance.now();
      const made = await failures.note(`activate(${size})`, signal, () => pool.activate(size, SPEC, { signal }));
      if (made === undefined) continue;
      vms.push(...made);
      callMs.push(performance.now() - calledAt);
      progress(`${vms.length} of ${count} claimed`);
    }
  };
  await Promise.all([worker(), worker()]);
  const totalMs = performance.now() - startedAt;
  await emptyDock(pool, context);
  for (const field of UNIQUE) {
    const different = new Set(vms.map((vm) => vm[field])).size;
    check(different === vms.length, `${vms.length} VMs have ${different} values of ${field}`);
  }
  const fromDock = vms.filter(({ origin }) => origin === "docked").length;
  const running = perClone(await memoryOfClones(stateDir));
  await release(vms);
  const vmMs = summarize(vms.map(({ timings }) => timings.totalMs));
  return { vms: vms.length, wanted: count, fromDock, totalMs, callMs: summarize(callMs), vmMs, running };
}

async function otherKinds(pool: Pool, { max }: DensityOptions, context: Context) {
  const { signal } = context;
  const measured: (PerClone & { kind: string })[] = [];
  for (const count of OTHER_COUNTS.filter((one) => one <= max)) {
    await emptyDock(pool, context);
    await fillDock(pool, count, true, context);
    measured.push({ kind: "primed", ...(await perCloneMemory(context)) });
    const vms = await pool.activate(count, SPEC, { signal });
    await emptyDock(pool, context);
    await delay(IDLE_MS, undefined, { signal });
    measured.push({ kind: "running", ...(await perCloneMemory(context)) });
    await release(vms);
    for (const { kind, clones, pssMiB } of measured.slice(-2)) {
      progress(`${clones} ${kind}: Pss ${pssMiB.toFixed(1)} MiB each`);
    }
  }
  return measured;
}

async function perCloneMemory({ stateDir }: Context): Promise<PerClone> {
  return perClone(await memoryOfClones(stateDir));
}

function perClone({ clones, pssMiB, privateMiB, originsPssMiB }: MemoryOfClones): PerClone {
  return { clones, pssMiB: pssMiB / clones, privateMiB: privateMiB / clones, originsPssMiB };
}
