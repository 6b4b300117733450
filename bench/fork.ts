import type { ForkReport, Vm } from "vm-substrate";
import { type Context, check, MIB, openPool, progress, release, SPEC } from "./context.ts";
import { memoryOfClones } from "./memory.ts";
import { conditions, describeMachine, summaryTable, writeResults } from "./results.ts";
import { summarize } from "./statistics.ts";

/** A part that stays in the guest's memory; the rest goes through its page cache. */
const KEPT_MIB = 16;

export interface ForkBenchOptions {
  readonly rounds: number;
  readonly forks: number;
  /** Written in the guest before each round. */
  readonly dirtyMiB: number;
}

/** Forks of a running VM that has written: how long it stands still, how long the call takes, what all of them take. */
export async function benchFork(options: ForkBenchOptions, context: Context): Promise<void> {
  const { rounds, forks: count, dirtyMiB } = options;
  const { signal } = context;
  const machine = await describeMachine();
  await using opened = await openPool(context);
  const { pool, substrate } = opened;
  const reports: ForkReport[] = [];
  pool.events.on("forked", (_, report) => reports.push(report));
  const totalMs: number[] = [];
  const pssMiB: { one: number; all: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    const [source] = await pool.activate(1, SPEC, { signal });
    check(source !== undefined, "no VM");
    await dirty(source, dirtyMiB);
    const one = (await memoryOfClones(context.stateDir)).pssMiB;
    const startedAt = performance.now();
    const forks = await source.fork(count, { signal });
    totalMs.push(performance.now() - startedAt);
    const sums = await Promise.all([source, ...forks].map(sumOf));
    check(new Set(sums).size === 1, "the forks' memory differs from the source's");
    pssMiB.push({ one, all: (await memoryOfClones(context.stateDir)).pssMiB });
    await release([source, ...forks]);
    progress(
      `round ${round + 1}: pause ${reports[round]?.pauseMs.toFixed(0)} ms, total ${totalMs[round]?.toFixed(0)} ms`,
    );
  }
  const of = (pick: (report: ForkReport) => number) => summarize(reports.map(pick));
  const times = { "source's pause": of(({ pauseMs }) => pauseMs), "whole call": summarize(totalMs) };
  const memory = {
    "memory copied": of(({ copiedBytes }) => copiedBytes / MIB),
    "Pss, source alone": summarize(pssMiB.map(({ one }) => one)),
    [`Pss, source and ${count} forks`]: summarize(pssMiB.map(({ all }) => all)),
  };
  const results = { date: new Date().toISOString(), machine, substrate, options, times, memory };
  await writeResults(
    "fork",
    results,
    `# Forks of a running VM

${conditions(machine, substrate)}

\`vm.fork(${count})\` of a VM in which ${dirtyMiB} MiB were written before, of which ${KEPT_MIB} MiB stay in use; a new one each round. The pause is that
of the source, from before QEMU is told to stop it until it has answered \`cont\`. The call ends with ${count} verified VMs. Milliseconds:

${summaryTable(times)}

MiB; Pss is of all QEMU processes, the fork server's included, after each VM has read what was written:

${summaryTable(memory)}
`,
  );
}

async function dirty(vm: Vm, mib: number): Promise<void> {
  const rest = Math.max(0, mib - KEPT_MIB);
  const text = `dd if=/dev/urandom of=/root/rest bs=1M count=${rest} && rm /root/rest && dd if=/dev/urandom of=/dev/shm/kept bs=1M count=${KEPT_MIB}`;
  const { exitCode, stderr } = await vm.exec(["sh", "-c", text], { timeoutMs: 120_000 });
  check(exitCode === 0, `the guest could not write: ${stderr}`);
}

async function sumOf(vm: Vm): Promise<string> {
  return (await vm.exec(["md5sum", "/dev/shm/kept"])).stdout;
}
