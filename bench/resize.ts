import { setTimeout as delay } from "node:timers/promises";
import type { ActivateSpec, Pool, Vm } from "vm-substrate";
import { type Context, check, emptyDock, fillDock, MIB, openPool, progress, release, SPEC } from "./context.ts";
import { conditions, describeMachine, markdownTable, phaseTable, summaryTable, writeResults } from "./results.ts";
import { measure, type Sample, summarizeSamples } from "./samples.ts";
import { type Summary, summarize } from "./statistics.ts";

const DOCK_DEPTH = 2;
/** Of a claim of four processors and 1 GiB, at the median. */
const TARGET_MS = 400;
/** More than a substrate's whole memory: it can only be had where some was added. */
const TOUCHED_MIB = 128;
const TOUCH =
  "mkdir -p /run/touched && mount -t tmpfs -o size=100% touched /run/touched && " +
  `dd if=/dev/zero of=/run/touched/x bs=1M count=${TOUCHED_MIB} 2>/dev/null && stat -c %s /run/touched/x && rm /run/touched/x`;

interface Kind {
  readonly name: string;
  readonly resources: NonNullable<ActivateSpec["resources"]>;
}

const KINDS: readonly Kind[] = [
  { name: "no resize", resources: {} },
  { name: "4 processors", resources: { cpus: 4 } },
  { name: "+128 MiB", resources: { memoryMiB: 96 + 128 } },
  { name: "+1 GiB", resources: { memoryMiB: 96 + 1024 } },
  { name: "disk of 1 GiB", resources: { diskMiB: 1024 } },
  { name: "4 processors, +1 GiB", resources: { cpus: 4, memoryMiB: 96 + 1024 } },
  { name: "4 processors, +2 GiB, disk of 1 GiB", resources: { cpus: 4, memoryMiB: 96 + 2048, diskMiB: 1024 } },
];
const TARGET_KIND = "4 processors, +1 GiB";

/** What the VM's own programs say, and how long they took to say it. */
interface Used {
  readonly nprocMs: number;
  readonly touchMs: number | undefined;
}

/** Memory that was added is taken away again, as much of it as can be. */
interface Shrunk {
  readonly shrinkMs: number;
  readonly memoryMiB: number;
  /** Of QEMU, guest included. */
  readonly privateBeforeMiB: number;
  readonly privateAfterMiB: number;
}

/** QEMU gives a module's memory back to the machine a moment after the module is gone. */
const GIVEN_BACK_MS = 500;

/** Claims of a docked, primed clone that is made larger on the way, one at a time. */
export async function benchResize(claims: number, context: Context): Promise<void> {
  const machine = await describeMachine();
  await using opened = await openPool(context);
  const { pool, substrate } = opened;
  const kinds = new Map<string, Awaited<ReturnType<typeof claimsOf>>>();
  for (const kind of KINDS) kinds.set(kind.name, await claimsOf(kind, claims, pool, context));
  await emptyDock(pool, context);

  const of = <T>(pick: (kind: Awaited<ReturnType<typeof claimsOf>>) => T) =>
    Object.fromEntries([...kinds].map(([name, kind]) => [name, pick(kind)]));
  const summaries = of(({ summary }) => summary);
  const wallMs = of(({ summary }) => summary.wallMs);
  const p50 = wallMs[TARGET_KIND]?.p50 ?? Number.NaN;
  await writeResults(
    "resize",
    {
      date: new Date().toISOString(),
      machine,
      substrate,
      options: { claims },
      targetMs: TARGET_MS,
      claims: summaries,
      nprocMs: of(({ nprocMs }) => nprocMs),
      touchMs: of(({ touchMs }) => touchMs ?? null),
      memoryMiB: of(({ memoryMiB }) => memoryMiB),
      shrunk: of(({ shrunk }) => shrunk ?? null),
    },
    `# Resources at the claim

${conditions(machine, substrate)}

A primed clone of one processor and 96 MiB waits in a dock of ${DOCK_DEPTH}, full and at rest before each claim; one VM at a time, released
after. Milliseconds around the caller's \`await pool.activate(1, { resources })\`: to a verified VM in which the kernel has
processors, memory and file system in use.

${summaryTable(wallMs, "no resize")}

${TARGET_KIND}: p50 ${p50.toFixed(0)} ms, target ${TARGET_MS} ms.

${phaseTable(summaries)}

What the VM's own programs then say, each the first of its kind in that VM: \`nproc\`, and writing ${TOUCHED_MIB} MiB, more than a
substrate's whole memory, where some was added; milliseconds at the median. Then Pss and private memory of a VM right after
its claim, QEMU included, MiB.

${markdownTable(
  ["", "nproc", `writing ${TOUCHED_MIB} MiB`, "Pss", "private"],
  [...kinds].map(([name, { nprocMs, touchMs, memoryMiB }]) => [
    name,
    nprocMs.p50,
    touchMs === undefined ? "" : touchMs.p50,
    memoryMiB.pss,
    memoryMiB.private,
  ]),
)}

At last \`vm.shrink\` takes away as much as it can, ${TOUCHED_MIB} MiB of which were written and given up: milliseconds, what the VM has then, and
QEMU's private memory before and after, MiB, at the median.

${markdownTable(
  ["", "shrink, p50", "p99", "memory left", "private before", "private after"],
  [...kinds].flatMap(([name, { shrunk }]) =>
    shrunk === undefined
      ? []
      : [[name, shrunk.ms.p50, shrunk.ms.p99, shrunk.memoryMiB, shrunk.privateBeforeMiB, shrunk.privateAfterMiB]],
  ),
)}
`,
  );
}

async function claimsOf({ name, resources }: Kind, count: number, pool: Pool, context: Context) {
  const samples: Sample[] = [];
  const used: Used[] = [];
  const shrunk: Shrunk[] = [];
  const memory: Awaited<ReturnType<Vm["memory"]>>[] = [];
  for (let i = 0; i < count; i++) {
    await fillDock(pool, DOCK_DEPTH, true, context);
    const { vm, sample } = await measure(() => pool.activate(1, { ...SPEC, resources }, { signal: context.signal }));
    check(vm.origin === "docked", `${name}: the VM is ${vm.origin}`);
    samples.push(sample);
    memory.push(await vm.memory());
    used.push(await use(vm, resources));
    if (resources.memoryMiB !== undefined) shrunk.push(await shrink(vm));
    await release([vm]);
  }
  const summary = summarizeSamples(samples);
  const { p50, p99 } = summary.wallMs;
  progress(`${name}: n ${count}, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`);
  const touched = used.map(({ touchMs }) => touchMs).filter((ms) => ms !== undefined);
  return {
    summary,
    nprocMs: summarize(used.map(({ nprocMs }) => nprocMs)),
    touchMs: touched.length === 0 ? undefined : (summarize(touched) satisfies Summary),
    memoryMiB: {
      pss: summarize(memory.map(({ pssBytes }) => pssBytes / MIB)).p50,
      private: summarize(memory.map(({ privateBytes }) => privateBytes / MIB)).p50,
    },
    shrunk: shrunk.length === 0 ? undefined : summarizeShrunk(shrunk),
  };
}

function summarizeShrunk(shrunk: readonly Shrunk[]) {
  const p50 = (pick: (one: Shrunk) => number) => summarize(shrunk.map(pick)).p50;
  return {
    ms: summarize(shrunk.map(({ shrinkMs }) => shrinkMs)) satisfies Summary,
    memoryMiB: p50(({ memoryMiB }) => memoryMiB),
    privateBeforeMiB: p50(({ privateBeforeMiB }) => privateBeforeMiB),
    privateAfterMiB: p50(({ privateAfterMiB }) => privateAfterMiB),
  };
}

async function shrink(vm: Vm): Promise<Shrunk> {
  const before = await vm.memory();
  const startedAt = performance.now();
  const { memoryMiB } = await vm.shrink({ memoryMiB: 1 });
  const shrinkMs = performance.now() - startedAt;
  await delay(GIVEN_BACK_MS);
  const after = await vm.memory();
  return {
    shrinkMs,
    memoryMiB,
    privateBeforeMiB: before.privateBytes / MIB,
    privateAfterMiB: after.privateBytes / MIB,
  };
}

async function use(vm: Vm, { cpus = 1, memoryMiB, diskMiB }: Kind["resources"]): Promise<Used> {
  const startedAt = performance.now();
  const { stdout } = await vm.exec(["nproc"]);
  const nprocMs = performance.now() - startedAt;
  check(stdout.trim() === String(cpus), `nproc says ${stdout.trim()}, expected ${cpus}`);
  if (diskMiB !== undefined) {
    const sizeKib = Number(/\/dev\/vda\s+(\d+)/.exec((await vm.exec(["df", "-k", "/"])).stdout)?.[1]);
    check(sizeKib > 0.9 * diskMiB * 1024, `df says ${sizeKib} KiB, expected almost ${diskMiB} MiB`);
  }
  if (memoryMiB === undefined) return { nprocMs, touchMs: undefined };
  const touchedAt = performance.now();
  const touched = await vm.exec(["sh", "-c", TOUCH]);
  check(touched.stdout.trim() === String(TOUCHED_MIB * MIB), `memory could not be written: ${touched.stderr}`);
  return { nprocMs, touchMs: performance.now() - touchedAt };
}
