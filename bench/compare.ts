import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Vm } from "vm-substrate";
import { barChart } from "./chart.ts";
import { LIBVIRT_SETUP, LibvirtBaseline } from "./compare-libvirt.ts";
import { type CopiedRound, LoadvmBaseline } from "./compare-loadvm.ts";
import {
  type Context,
  check,
  emptyDock,
  fillDock,
  openPool,
  progress,
  release,
  SUBSTRATE,
  TEMPLATE,
} from "./context.ts";
import { newIdentity } from "./guest.ts";
import { bootMachine } from "./machine.ts";
import { conditions, describeMachine, markdownTable, summaryTable, writeChart, writeResults } from "./results.ts";
import { measure } from "./samples.ts";
import { type Summary, summarize } from "./statistics.ts";

const COLD = "cold boot";
/** Nobody's network: libvirt and `-loadvm` would join one in ways of their own. */
const SPEC = { substrate: SUBSTRATE, ...TEMPLATE };

export interface CompareOptions {
  readonly rounds: number;
  /** Where images are kept that are copied; a tmpfs is best for them. */
  readonly workDir: string;
  readonly libvirt: boolean;
}

/** One VM: everything until it is ready, and the parts of that. */
interface Round {
  readonly totalMs: number;
  readonly partsMs: Readonly<Record<string, number>>;
}

/** The same guest by five ways, interleaved in one run. */
export async function benchCompare(options: CompareOptions, context: Context): Promise<void> {
  const machine = await describeMachine();
  const { signal } = context;
  await using owned = new AsyncDisposableStack();
  const { pool, substrate } = owned.use(await openPool(context));
  const boot = await bootMachine(pool, signal);
  const dir = await mkdtemp(join(options.workDir, "vmsb-"));
  owned.defer(() => rm(dir, { recursive: true, force: true }));
  await chmod(dir, 0o711); // libvirt's part of it belongs to another user
  await mkdir(join(dir, "loadvm"), { mode: 0o700 });

  progress("saving a VM by savevm");
  const loadvm = await LoadvmBaseline.prepare(boot, join(dir, "loadvm"), signal);
  const { libvirt, leftOut } = await libvirtOrWhyNot(options, () =>
    LibvirtBaseline.prepare(boot, join(dir, "libvirt"), signal),
  );
  if (libvirt !== undefined) owned.use(libvirt);

  const rounds = new Map<string, Round[]>();
  const alike = new Map<string, Round[]>();
  const add = (to: Map<string, Round[]>, name: string, round: Round) => {
    to.set(name, [...(to.get(name) ?? []), round]);
  };
  for (let i = 1; i <= options.rounds; i++) {
    progress(`round ${i} of ${options.rounds}`);
    await emptyDock(pool, context);
    add(rounds, COLD, await ours(() => pool.coldBoot(1, SPEC, { signal }), signal));
    add(rounds, "savevm, -loadvm", copied(await loadvm.round(newIdentity(i))));
    add(alike, "savevm, -loadvm", copied(await loadvm.round(undefined)));
    if (libvirt !== undefined) {
      add(rounds, "virsh restore", copied(await libvirt.round(newIdentity(i))));
      add(alike, "virsh restore", copied(await libvirt.round(undefined)));
    }
    add(rounds, "clone, empty dock", await ours(() => pool.activate(1, SPEC, { signal }), signal));
    await fillDock(pool, 1, true, context);
    add(rounds, "clone, primed dock", await ours(() => pool.activate(1, SPEC, { signal }), signal));
  }
  const ready = totals(rounds);
  const verified = totals(rounds, ({ totalMs, partsMs }) => totalMs - (partsMs.agent ?? 0));
  const withoutCopy = totals(rounds, ({ totalMs, partsMs }) => totalMs - (partsMs.copy ?? 0));
  const withoutIdentity = totals(alike);
  const partsMs = parts(rounds);
  const virshMs = libvirt?.virshMs;
  const results = { ready, verified, withoutCopy, withoutIdentity, partsMs, virshMs, libvirtLeftOut: leftOut };
  for (const [name, { p50 }] of Object.entries(ready)) progress(`${name}: p50 ${p50.toFixed(1)} ms`);
  await writeResults(
    "compare",
    { date: new Date().toISOString(), machine, substrate, options, ...results },
    `# Ways to get another VM

${conditions(machine, substrate)}

The same guest, disk, machine type, processor model and memory, one VM at a time, interleaved in one run. Milliseconds.
**Ready** means in each: it was given an identity (hostname, MAC and IP address, machine-id, SSH host key, entropy, clock) which
was read back, and then the guest agent answered with the hostname, by a program in the guest. No network.

${summaryTable(ready, COLD)}

![time until a VM is ready](../../docs/compare.svg)

Until the identity is verified, without the question to the agent, whose program is the first in a clone:

${summaryTable(verified, COLD)}

- **savevm, -loadvm**: the VM is saved inside its qcow2, RAM included, and QEMU is started with \`-loadvm\` on a copy, since the
  VM writes into it and an overlay does not show the snapshots of its backing file. Anonymous memory, no kernel arguments.
- **virsh restore**: ${leftOut === undefined ? `\`virsh save\` once, then \`virsh restore\` on a copy of the disk; type \`qemu\`; an unprivileged libvirtd of its own. A virsh that does nothing takes ${(virshMs ?? 0).toFixed(0)} ms of it. The MAC address is not checked from outside, in its favour. libvirt chooses PCI slots and TCG options itself.` : `**left out**: ${leftOut}. It needs: ${LIBVIRT_SETUP}`}
- Both were warmed before they were saved: every operation had been done once. Both give copies that are **all alike**
  (address, keys, \`/dev/urandom\`): here our helper in the guest gives them an identity, which neither does by itself. Their images are
  on ${options.workDir}.

Parts, p50; \`restore\` is \`spawn\` and \`load\`, or the boot:

${partsTable(partsMs)}

With the copy of the image or disk made beforehand:

${summaryTable(withoutCopy, COLD)}

Without an identity, until the agent answers with the saved VM's own hostname (copies that are alike):

${summaryTable(withoutIdentity)}
`,
  );
  const base = ready[COLD]?.p50 ?? Number.NaN;
  const bars = Object.entries(ready).map(([name, { p50 }]) => ({
    name,
    value: p50,
    note: name === COLD ? "" : `(${(base / p50).toFixed(1)}x faster)`,
  }));
  await writeChart(
    "compare",
    barChart("Time until a VM is ready", "Until another VM is ready, p50, logarithmic", bars),
  );
}

async function libvirtOrWhyNot({ libvirt }: CompareOptions, prepare: () => Promise<LibvirtBaseline>) {
  if (!libvirt) return { leftOut: "it was not asked for (--no-libvirt)" };
  progress("saving a VM by virsh");
  try {
    return { libvirt: await prepare() };
  } catch (error) {
    const said = error instanceof Error ? error.message.trim().split("\n").slice(-3).join(" ") : String(error);
    const leftOut = `it does not work here: ${said}`;
    progress(`libvirt is left out: ${leftOut}`);
    return { leftOut };
  }
}

async function ours(make: () => Promise<readonly Vm[]>, signal: AbortSignal): Promise<Round> {
  const { vm, sample } = await measure(make);
  const verifiedAt = performance.now();
  const { stdout } = await vm.exec(["hostname"], { signal });
  const agent = performance.now() - verifiedAt;
  check(stdout.trim() === vm.hostname, `the agent says that it is ${stdout.trim()}`);
  await release([vm]);
  const { overlay, spawn, load, personalise, verify } = sample.phasesMs;
  const known = { copy: overlay, restore: spawn + load, personalise: personalise + verify };
  const other = sample.wallMs - known.copy - known.restore - known.personalise;
  return { totalMs: sample.wallMs + agent, partsMs: { ...known, agent, other } };
}

function copied({ copyMs, restoreMs, personaliseMs, agentMs }: CopiedRound): Round {
  const partsMs = { copy: copyMs, restore: restoreMs, personalise: personaliseMs, agent: agentMs, other: 0 };
  return { totalMs: copyMs + restoreMs + personaliseMs + agentMs, partsMs };
}

function totals(
  rounds: ReadonlyMap<string, readonly Round[]>,
  of: (round: Round) => number = ({ totalMs }) => totalMs,
): Record<string, Summary> {
  return Object.fromEntries([...rounds].map(([name, each]) => [name, summarize(each.map(of))]));
}

const PARTS = ["copy", "restore", "personalise", "agent", "other"] as const;

function parts(rounds: ReadonlyMap<string, readonly Round[]>): Record<string, Record<string, Summary>> {
  const summaries = (each: readonly Round[]) =>
    Object.fromEntries(PARTS.map((part) => [part, summarize(each.map(({ partsMs }) => partsMs[part] ?? 0))]));
  return Object.fromEntries([...rounds].map(([name, each]) => [name, summaries(each)]));
}

function partsTable(byKind: Record<string, Record<string, Summary>>): string {
  const rows = Object.entries(byKind).map(([name, of]) => [name, ...PARTS.map((part) => of[part]?.p50 ?? 0)]);
  return markdownTable(["", ...PARTS], rows);
}
