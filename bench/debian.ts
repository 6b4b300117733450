import { fileURLToPath } from "node:url";
import { type ActivateSpec, Pool, type SubstrateInfo, type Vm } from "vm-substrate";
import { atRest, type Context, check, MIB, progress, release } from "./context.ts";
import { conditions, describeMachine, markdownTable, phaseTable, summaryTable, writeResults } from "./results.ts";
import { measure, type Sample, summarizeSamples } from "./samples.ts";
import { summarize } from "./statistics.ts";

const WEB_RECIPE = fileURLToPath(new URL("./web.yaml", import.meta.url));
const DOCK_DEPTH = 2;
const DOCKED_TIMEOUT_MS = 600_000;
/** At once, idle, when their memory is measured. */
const IDLE_VMS = 8;
/** A GET without a program for it in the guest. */
const GET = 'exec 3<>/dev/tcp/127.0.0.1/80; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3';
const ASK_TIMEOUT_MS = 10_000;
/** In use by the guest's kernel before the VM is handed out. */
const GROWN_RESOURCES = { cpus: 4, memoryMiB: 2048 } as const;
const GROWN = "dock, primed, 4 processors, 2 GiB";
const MEMORY_OF_16_GIB = 16 * 1024;

/** What a VM has for its own library: the helper, which no user of the package talks to. */
interface Inside {
  whileRunning<T>(
    what: string,
    work: (clone: { readonly guest: { readonly helper: Helper } }) => Promise<T>,
  ): Promise<T>;
}
interface Helper {
  request(
    operations: readonly { readonly name: "http"; readonly value: string }[],
    options: { readonly timeoutMs: number },
  ): Promise<readonly string[]>;
}

const specOf = (substrate: string): ActivateSpec => ({ substrate, network: { fabric: "mcast" } });

/** Debian 12: cold boot until systemd runs, clone, clone by the agent only, claim of a primed clone; and a web server. */
export async function benchDebian(
  { rounds, claims }: { readonly rounds: number; readonly claims: number },
  context: Context,
): Promise<void> {
  const { signal, stateDir } = context;
  const machine = await describeMachine();
  await using pool = await Pool.open({ stateDir });
  const onProgress = ({ message }: { message: string }) => progress(message);
  const debian: SubstrateInfo = await pool.build({ recipe: "debian", signal, onProgress });
  const web: SubstrateInfo = await pool.build({ recipeFile: WEB_RECIPE, signal, onProgress });
  const spec = specOf("debian");
  await release(await pool.activate(1, spec, { signal })); // the first run of this program's own code

  const samples = {
    "cold boot": await several("cold boot", rounds, () => pool.coldBoot(1, spec, { signal })),
    clone: await several("clone", claims, () => pool.activate(1, spec, { signal })),
    "clone, agent only": await several("clone, agent only", claims, () =>
      pool.activate(1, { ...spec, channel: "agent" }, { signal }),
    ),
    "dock, primed": await docked("debian", claims, pool, context),
    [GROWN]: await docked("debian", claims, pool, context, GROWN_RESOURCES),
    "dock, primed, nginx": await docked("web", claims, pool, context),
  };
  const asked = await askWeb(claims, pool, context);
  const memory = await idleMemory(pool, context);

  const summaries = Object.fromEntries(Object.entries(samples).map(([name, all]) => [name, summarizeSamples(all)]));
  const wallMs = Object.fromEntries(Object.entries(summaries).map(([name, summary]) => [name, summary.wallMs]));
  const asMiB = (bytes: number) => bytes / MIB;
  const sizes = [debian, web].map(({ name, memory: { assignedBytes, usedBytes, residentBytes } }) => ({
    name,
    assignedMiB: asMiB(assignedBytes),
    usedMiB: asMiB(usedBytes),
    residentMiB: asMiB(residentBytes),
  }));
  const results = { date: new Date().toISOString(), machine, substrates: [debian, web], options: { rounds, claims } };
  await writeResults(
    "debian",
    { ...results, claims: summaries, httpMs: asked, memoryMiB: memory, sizes },
    `# Debian 12

${conditions(machine, debian)}

Around the caller's \`await\`, to a verified VM on its network; \`systemctl is-system-running\` says "running" in each. A cold boot
boots the same disk on the same machine and waits for the same. One VM at a time.

${summaryTable(wallMs, "cold boot")}

${phaseTable(summaries)}

## A web server

nginx runs in the substrate. The first request to it in a VM that was just claimed, and the second: milliseconds from asking to
the status line, n ${claims}. The helper asks, which runs in the guest already: nothing else has to be started there.

${markdownTable(
  ["", "p50", "p99"],
  [
    ["first request", asked.first.p50, asked.first.p99],
    ["second request", asked.again.p50, asked.again.p99],
  ],
)}

## Memory, MiB

${markdownTable(
  [
    "substrate",
    "assigned",
    "used, by the guest's account",
    "in the RAM file",
    "such substrates in 16 GiB of memory",
    "VMs of that size in 16 GiB",
  ],
  sizes.map(({ name, assignedMiB, usedMiB, residentMiB }) => [
    name,
    assignedMiB,
    usedMiB,
    residentMiB,
    Math.floor(MEMORY_OF_16_GIB / residentMiB),
    Math.floor(MEMORY_OF_16_GIB / assignedMiB),
  ]),
)}

${IDLE_VMS} running, idle clones of ${debian.name}, QEMU included: ${memory.pss.toFixed(1)} MiB of Pss each, ${memory.private.toFixed(1)} private.
`,
  );
}

async function several(
  name: string,
  count: number,
  make: () => Promise<Vm[]>,
  before: () => Promise<void> = async () => {},
): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let i = 0; i < count; i++) {
    await before();
    const { vm, sample } = await measure(make);
    if (i === 0)
      check((await vm.exec(["systemctl", "is-system-running"])).stdout.trim() === "running", `${name}: not up`);
    await release([vm]);
    samples.push(sample);
  }
  const { p50, p99 } = summarizeSamples(samples).wallMs;
  progress(`${name}: n ${count}, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`);
  return samples;
}

async function docked(
  substrate: string,
  count: number,
  pool: Pool,
  { signal }: Context,
  resources: NonNullable<ActivateSpec["resources"]> = {},
): Promise<Sample[]> {
  await pool.dock(substrate, { min: DOCK_DEPTH, max: DOCK_DEPTH, primed: true });
  const claim = async () => {
    const vms = await pool.activate(1, { ...specOf(substrate), resources }, { signal });
    check(vms[0]?.resources.cpus === (resources.cpus ?? 1), `${substrate}: not the processors that were asked for`);
    return vms;
  };
  const samples = await several(`dock of ${substrate} ${JSON.stringify(resources)}`, count, claim, () =>
    full(substrate, pool, signal),
  );
  await pool.dock(substrate, { min: 0, max: 0 });
  return samples;
}

/** The dock is full and at rest. */
async function full(substrate: string, pool: Pool, signal: AbortSignal): Promise<void> {
  await pool.docked(substrate, { count: DOCK_DEPTH, timeoutMs: DOCKED_TIMEOUT_MS, signal });
  await atRest(pool, signal);
}

/**
 * The first request to nginx in a VM that was just claimed. It is asked by the helper that runs in the guest already, so that
 * nothing but the question and its answer is measured; who waits for a claim asks from outside, by a network that is there.
 */
async function askWeb(count: number, pool: Pool, { signal }: Context) {
  const firstMs: number[] = [];
  const againMs: number[] = [];
  await pool.dock("web", { min: DOCK_DEPTH, max: DOCK_DEPTH, primed: true });
  for (let i = 0; i < count; i++) {
    await full("web", pool, signal);
    const [vm] = (await pool.activate(1, specOf("web"), { signal })) as [Vm];
    for (const times of [firstMs, againMs]) {
      const { status, ms } = await (vm as unknown as Inside).whileRunning("request", async ({ guest }) => {
        const startedAt = performance.now();
        const [answered] = await guest.helper.request([{ name: "http", value: "80,/" }], { timeoutMs: ASK_TIMEOUT_MS });
        return { status: answered, ms: performance.now() - startedAt };
      });
      check(status === "200", `the web server answered with status ${status}`);
      times.push(ms);
    }
    const { stdout } = await vm.exec(["bash", "-c", GET]);
    check(stdout.includes("hello from a clone"), `the web server said ${JSON.stringify(stdout)}`);
    await release([vm]);
  }
  await pool.dock("web", { min: 0, max: 0 });
  const asked = { first: summarize(firstMs), again: summarize(againMs) };
  progress(`first request: p50 ${asked.first.p50.toFixed(1)} ms, the second ${asked.again.p50.toFixed(1)}`);
  return asked;
}

async function idleMemory(pool: Pool, { signal }: Context) {
  const vms = await pool.activate(IDLE_VMS, specOf("debian"), { signal });
  const memory = await Promise.all(vms.map((vm) => vm.memory()));
  await release(vms);
  const mean = (of: (one: (typeof memory)[number]) => number) =>
    memory.reduce((sum, one) => sum + of(one), 0) / memory.length / MIB;
  return { vms: IDLE_VMS, pss: mean(({ pssBytes }) => pssBytes), private: mean(({ privateBytes }) => privateBytes) };
}
