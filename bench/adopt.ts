import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Pool } from "vm-substrate";
import { type Context, check, openPool, progress, release } from "./context.ts";
import { conditions, describeMachine, summaryTable, writeResults } from "./results.ts";
import { summarize } from "./statistics.ts";

const OWNER = fileURLToPath(new URL("./adopt-owner.ts", import.meta.url));

/** An owner of running VMs is killed; another one opens the state directory, and all VMs answer it. */
export async function benchAdopt(
  { rounds, vms: count }: { readonly rounds: number; readonly vms: number },
  context: Context,
): Promise<void> {
  const machine = await describeMachine();
  const substrate = await builtSubstrate(context);
  const openMs: number[] = [];
  const answeredMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    context.signal.throwIfAborted();
    const ids = await killedOwner(context, count);
    const startedAt = performance.now();
    await using pool = await Pool.open({ stateDir: context.stateDir });
    openMs.push(performance.now() - startedAt);
    check(pool.vms.length === count && pool.vms.every(({ id }) => ids.includes(id)), "not all VMs were taken over");
    await Promise.all(pool.vms.map((vm) => vm.exec(["true"])));
    answeredMs.push(performance.now() - startedAt);
    progress(
      `round ${round + 1}: open ${openMs.at(-1)?.toFixed(0)} ms, all answered ${answeredMs.at(-1)?.toFixed(0)} ms`,
    );
    await release(pool.vms);
  }
  const times = {
    "until the pool is open": summarize(openMs),
    "until every VM has run a program": summarize(answeredMs),
  };
  await writeResults(
    "adopt",
    { date: new Date().toISOString(), machine, substrate, options: { rounds, vms: count }, times },
    `# Taking VMs over

${conditions(machine, substrate)}

The owner of ${count} running VMs is killed by SIGKILL; another process opens its state directory, and runs a program in each of them, all at
once. Milliseconds from the call of \`Pool.open\`:

${summaryTable(times)}
`,
  );
}

async function builtSubstrate(context: Context) {
  await using opened = await openPool(context);
  return opened.substrate;
}

/** @returns the ids of the VMs that it left */
async function killedOwner({ stateDir }: Context, count: number): Promise<string[]> {
  const owner = fork(OWNER, [stateDir, String(count)], { execArgv: ["--disable-warning=ExperimentalWarning"] });
  const [ids] = (await Promise.race([
    once(owner, "message"),
    once(owner, "exit").then(() => Promise.reject(new Error("the owner ended before it had VMs"))),
  ])) as [string[]];
  const exited = once(owner, "exit");
  owner.kill("SIGKILL");
  await exited;
  return ids;
}
