import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import type { Pool } from "vm-substrate";
import {
  type Context,
  check,
  emptyDock,
  type Failures,
  fillDock,
  progress,
  release,
  SPEC,
  SUBSTRATE,
  TEMPLATE,
} from "./context.ts";
import { markdownTable, summaryTable } from "./results.ts";
import { measure, type Sample, summarizeSamples } from "./samples.ts";
import { type Summary, summarize } from "./statistics.ts";

const AT_ONCE = 32;
const AT_ONCE_EMPTY = 64;
/** Ready when the filling begins, and what the dock is raised to. */
const DEPTH_BEFORE_FILLING = 8;
const DEPTH_OF_FILLING = 40;
/** Between two claims while a dock is filled: no clone is started while a claim is under way. */
const BETWEEN_CLAIMS_MS = 100;
const NS_PER_MS = 1e6;

const CLONES = ["primed", "restored"] as const;
type Clones = (typeof CLONES)[number];

export interface LoadOptions {
  /** Rounds of everything below. */
  readonly rounds: number;
  /** Claims while a dock is filled, and as many without. */
  readonly fillingClaims: number;
}

interface AtOnce {
  readonly count: number;
  readonly totalMs: Summary;
  readonly cpuMsPerClaim: Summary;
  /** Timer delay beyond the monitor's own millisecond; p99 and longest of each round. */
  readonly eventLoopDelayP99Ms: Summary;
  readonly eventLoopDelayMaxMs: Summary;
}

export interface Load {
  readonly atOnce: Readonly<Record<string, AtOnce>>;
  readonly refillClonesPerSecond: Readonly<Record<Clones, Summary>>;
  readonly filling: Readonly<Record<string, Summary>>;
}

export async function claimsUnderLoad(
  pool: Pool,
  options: LoadOptions,
  failures: Failures,
  context: Context,
): Promise<Load> {
  const atOnce: Record<string, AtOnce> = {};
  const refill = {} as Record<Clones, Summary>;
  const filling: Record<string, Summary> = {};
  for (const clones of CLONES) {
    const rates: number[] = [];
    atOnce[clones] = await claimsAtOnce(pool, AT_ONCE, options.rounds, failures, context, async () => {
      await emptyDock(pool, context);
      const tookMs = await fillDock(pool, AT_ONCE, clones === "primed", context);
      rates.push(AT_ONCE / (tookMs / 1000));
    });
    refill[clones] = summarize(rates);
    progress(`refill, ${clones}: p50 ${refill[clones].p50.toFixed(1)} clones/s`);
  }
  atOnce["empty dock"] = await claimsAtOnce(pool, AT_ONCE_EMPTY, options.rounds, failures, context, () =>
    emptyDock(pool, context),
  );
  for (const clones of CLONES) {
    for (const isFilling of [false, true]) {
      const name = `${clones}, ${isFilling ? "while filling" : "dock at rest"}`;
      filling[name] = await pacedClaims(pool, clones, isFilling, options.fillingClaims, context);
      progress(`${name}: p50 ${filling[name].p50.toFixed(1)} ms, p99 ${filling[name].p99.toFixed(1)} ms`);
    }
  }
  return { atOnce, refillClonesPerSecond: refill, filling };
}

/** One `activate(count)` a round. */
async function claimsAtOnce(
  pool: Pool,
  count: number,
  rounds: number,
  failures: Failures,
  { signal }: Context,
  prepare: () => Promise<void>,
): Promise<AtOnce> {
  const totals: number[] = [];
  const cpus: number[] = [];
  const p99s: number[] = [];
  const longest: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    await prepare();
    const loop = monitorEventLoopDelay({ resolution: 1 });
    const cpu = process.cpuUsage();
    loop.enable();
    const startedAt = performance.now();
    const vms = await failures.note(`activate(${count}), round ${round}`, signal, () =>
      pool.activate(count, SPEC, { signal }),
    );
    const totalMs = performance.now() - startedAt;
    loop.disable();
    if (vms === undefined) continue;
    totals.push(totalMs);
    const { user, system } = process.cpuUsage(cpu);
    cpus.push((user + system) / 1000 / count);
    p99s.push(loop.percentile(99) / NS_PER_MS);
    longest.push(loop.max / NS_PER_MS);
    progress(`${count} at once, round ${round} of ${rounds}: ${totalMs.toFixed(0)} ms`);
    await release(vms);
  }
  return {
    count,
    totalMs: summarize(totals),
    cpuMsPerClaim: summarize(cpus),
    eventLoopDelayP99Ms: summarize(p99s),
    eventLoopDelayMaxMs: summarize(longest),
  };
}

/** Claims at one pace, each from a docked clone, with the dock at rest or being filled. */
async function pacedClaims(
  pool: Pool,
  clones: Clones,
  isFilling: boolean,
  count: number,
  context: Context,
): Promise<Summary> {
  const { signal } = context;
  const primed = clones === "primed";
  const samples: Sample[] = [];
  let fruitless = 0;
  await emptyDock(pool, context);
  while (samples.length < count) {
    if (isFilling) await emptyDock(pool, context);
    await fillDock(pool, DEPTH_BEFORE_FILLING, primed, context);
    if (isFilling) await pool.dock(SUBSTRATE, { min: DEPTH_OF_FILLING, max: DEPTH_OF_FILLING, primed, ...TEMPLATE });
    const before = samples.length;
    const goesOn = () =>
      isFilling && samples.length < count && pool.docks.some(({ ready }) => ready < DEPTH_OF_FILLING);
    do {
      await delay(BETWEEN_CLAIMS_MS, undefined, { signal });
      const wasFilling = pool.docks.some(({ starting }) => starting > 0);
      const { vm, sample } = await measure(() => pool.activate(1, SPEC, { signal }));
      if (vm.origin === "docked" && wasFilling === isFilling) samples.push(sample);
      await release([vm]);
    } while (goesOn());
    fruitless = samples.length > before ? 0 : fruitless + 1;
    check(fruitless < 10, `${clones}: no claim came from a dock that is ${isFilling ? "being filled" : "at rest"}`);
  }
  return summarizeSamples(samples).wallMs;
}

export function loadReport({ atOnce, refillClonesPerSecond, filling }: Load, { rounds }: LoadOptions): string {
  const row = ([name, { count, ...one }]: [string, AtOnce]) => [
    `${count}, ${name}`,
    one.totalMs.p50,
    one.totalMs.min,
    one.totalMs.max,
    one.totalMs.p50 / count,
    one.cpuMsPerClaim.p50,
    one.eventLoopDelayP99Ms.p50,
    one.eventLoopDelayMaxMs.max,
  ];
  const header = ["VMs", "total p50", "min", "max", "p50 / VMs", "Node's CPU per VM", "loop delay p99", "longest"];
  return `## Many at once

One \`activate(n)\`, rounds: ${rounds}, from a dock that holds so many, or with none. Milliseconds. The event loop's delay is that of
\`monitorEventLoopDelay({ resolution: 1 })\` during the call, whose own timer is 1 ms of it; its p99 is the median of the rounds.

${markdownTable(header, Object.entries(atOnce).map(row))}

## Filling a dock

From an empty dock to ${AT_ONCE} ready clones, clones per second:

${summaryTable(refillClonesPerSecond)}

Claims of ready clones, one every ${BETWEEN_CLAIMS_MS} ms, with the dock at rest and while it is filled from ${DEPTH_BEFORE_FILLING} to ${DEPTH_OF_FILLING}.
Milliseconds. No dock starts a clone while a claim is under way; a clone whose start has begun is finished meanwhile.

${summaryTable(filling)}
`;
}
