/**
 * A process that owns a pool: `node pool-owner.ts JSON`. It prints lines for its test, and stays until it is killed, by its
 * test or, at a failpoint, by itself.
 */
import { writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { isVmSubstrateError } from "../../lib/core/index.ts";
import { Paths } from "../../lib/host/index.ts";
import { Pool, type PoolOptions } from "../../lib/pool/index.ts";
import { churn, retarget } from "./churn.ts";
import { liveALife } from "./life.ts";
import { loseTheDisk, runOutOfDescriptors, runOutOfProcesses } from "./owner-faults.ts";

export interface OwnerTask {
  readonly options: PoolOptions;
  /** `vms`: hand out that many. `session`: hand out one, with a session of that program. `forks`: hand out one, and fork it so often. `churn`: make and release them by chance, from a seed. `life`: everything that a VM can live through. `build`: of the mini recipe. `recipeFile`: build that. `docks`: change a dock again and again. The others: see owner-faults.ts. */
  readonly does:
    | { readonly vms: number; readonly ttlMs?: number }
    | { readonly session: readonly string[] }
    | { readonly forks: number }
    | { readonly churn: number; readonly substrate?: string }
    | "life"
    | "build"
    | { readonly recipeFile: string }
    | "docks"
    | "descriptors"
    | "processes"
    | "disk";
  /** Kills itself, as by SIGKILL, when this is reached for the n-th time. */
  readonly killAt?: { readonly failpoint: string; readonly time: number } | undefined;
}

/** At once, also when the process is killed in the same turn. */
function say(line: string): void {
  writeSync(1, `${line}\n`);
}

const task: OwnerTask = JSON.parse(process.argv[2] ?? "{}");
flushCompileCache(); // now, because most owners end by SIGKILL
let times = 0;
const failpoint = (name: string) => {
  if (name === task.killAt?.failpoint && ++times === task.killAt.time) process.kill(process.pid, "SIGKILL");
};
try {
  const pool = await Pool.open(task.options, { failpoint });
  if (task.does === "build") await pool.build({ recipe: "mini" });
  else if (task.does === "docks") await retarget(pool, say);
  else if (task.does === "life") await liveALife(pool, say);
  else if (task.does === "descriptors") await runOutOfDescriptors(pool, say);
  else if (task.does === "processes") await runOutOfProcesses(pool, say);
  else if (task.does === "disk") await loseTheDisk(pool, new Paths(task.options).store, say);
  else if ("session" in task.does) {
    const [vm] = await pool.activate(1, { substrate: "fake" });
    await vm?.session(task.does.session);
  } else if ("forks" in task.does) {
    const [vm] = await pool.activate(1, { substrate: "fake" });
    say(`handed ${vm?.id}`);
    for (let i = 0; i < task.does.forks; i++) for (const fork of (await vm?.fork(1)) ?? []) await fork.release();
  } else if ("recipeFile" in task.does) await pool.build({ recipeFile: task.does.recipeFile });
  else if ("churn" in task.does)
    await churn(pool, { seed: task.does.churn, substrate: task.does.substrate ?? "fake" }, say);
  else if (task.does.vms > 0) await pool.activate(task.does.vms, { substrate: "fake", ttlMs: task.does.ttlMs });
  say("ready");
  setInterval(() => {}, 60_000);
} catch (error) {
  say(isVmSubstrateError(error) ? error.code : String(error));
}
