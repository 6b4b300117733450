import type { ActivateSpec, Pool } from "vm-substrate";
import { claimsUnderLoad, type LoadOptions, loadReport } from "./claim-load.ts";
import {
  type Context,
  check,
  emptyDock,
  Failures,
  fillDock,
  MIB,
  openPool,
  progress,
  release,
  SPEC,
} from "./context.ts";
import { conditions, describeMachine, phaseTable, summaryTable, writeResults } from "./results.ts";
import { measure, type Sample, summarizeSamples } from "./samples.ts";

const DOCK_DEPTH = 8;

interface Kind {
  readonly name: string;
  /** What waits in the dock, if anything does. */
  readonly dock?: "primed" | "restored";
  readonly spec: ActivateSpec;
  readonly claims: "primed" | "other";
}

const KINDS: readonly Kind[] = [
  { name: "primed", dock: "primed", spec: SPEC, claims: "primed" },
  { name: "on the fly", dock: "primed", spec: { ...SPEC, hostname: "other-{index}" }, claims: "other" },
  { name: "restored", dock: "restored", spec: SPEC, claims: "other" },
  { name: "empty dock", spec: SPEC, claims: "other" },
  { name: "empty dock, agent", spec: { ...SPEC, channel: "agent" }, claims: "other" },
];

export interface ClaimOptions extends LoadOptions {
  readonly primedClaims: number;
  readonly otherClaims: number;
}

/** Claims one at a time from a dock that is full and at rest, without a dock, many at once, and while a dock is filled. */
export async function benchClaim(options: ClaimOptions, context: Context): Promise<void> {
  const machine = await describeMachine();
  await using opened = await openPool(context);
  const { pool, substrate } = opened;
  const failures = new Failures();
  const kinds = new Map<string, Awaited<ReturnType<typeof claimsOf>>>();
  for (const kind of KINDS) {
    const count = kind.claims === "primed" ? options.primedClaims : options.otherClaims;
    kinds.set(kind.name, await claimsOf(kind, count, pool, context));
  }
  const load = await claimsUnderLoad(pool, options, failures, context);

  const summaries = Object.fromEntries([...kinds].map(([name, { summary }]) => [name, summary]));
  const privateMiB = Object.fromEntries([...kinds].map(([name, kind]) => [name, kind.privateMiB]));
  const pick = (of: "wallMs" | "cpuMs") =>
    Object.fromEntries(Object.entries(summaries).map(([name, one]) => [name, one[of]]));
  await writeResults(
    "claim",
    {
      date: new Date().toISOString(),
      machine,
      substrate,
      options,
      claims: summaries,
      privateMiB,
      load,
      failures: failures.messages,
    },
    `# Claims

${conditions(machine, substrate)}

## One at a time

A dock of ${DOCK_DEPTH}, full and at rest before each claim; one VM at a time, released after. Fabric \`mcast\`. Milliseconds around the
caller's \`await pool.activate(1, ...)\`: to a verified VM with the identity that was asked for, the right clock, plugged in.
\`primed\`: the claim matches the dock's template. \`on the fly\`: the same clones, another hostname pattern. \`agent\`: a guest with
qemu-guest-agent only; docked clones are not used for it, so that there is no such claim from a dock.

${summaryTable(pick("wallMs"), "empty dock")}

${phaseTable(summaries)}

\`handOver\` is what the phases do not have: from the VM being ready to the caller having it, the commit of the hand-over included.

Processor time of the Node process for each claim, milliseconds (QEMU's and the guest's are not in it):

${summaryTable(pick("cpuMs"))}

Private memory of a VM right after its claim, QEMU included, MiB: ${Object.entries(privateMiB)
      .map(([name, mib]) => `${name} ${mib.toFixed(1)}`)
      .join(", ")}.

${loadReport(load, options)}${failures.markdown}`,
  );
  failures.throwIfAny();
}

async function claimsOf({ name, dock, spec }: Kind, count: number, pool: Pool, context: Context) {
  const { signal } = context;
  if (dock === undefined) await emptyDock(pool, context);
  const samples: Sample[] = [];
  let privateMiB = 0;
  for (let i = 0; i < count; i++) {
    // The dock is full and at rest before each claim: the refill's own load is not what is measured here.
    if (dock !== undefined) await fillDock(pool, DOCK_DEPTH, dock === "primed", context);
    const { vm, sample } = await measure(() => pool.activate(1, spec, { signal }));
    samples.push(sample);
    check(vm.origin === (dock === undefined ? "cloned" : "docked"), `${name}: the VM is ${vm.origin}`);
    privateMiB = (await vm.memory()).privateBytes / MIB;
    await release([vm]);
  }
  await emptyDock(pool, context);
  const summary = summarizeSamples(samples);
  progress(`${name}: n ${count}, p50 ${summary.wallMs.p50.toFixed(1)} ms, p99 ${summary.wallMs.p99.toFixed(1)} ms`);
  return { summary, privateMiB };
}
