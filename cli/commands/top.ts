import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import type { Second } from "../../api/index.ts";
import type { RemotePool } from "../../client/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { table } from "../output/table.ts";
import { formatBytes, formatDuration } from "../units.ts";
import { vmRow } from "../vm-rows.ts";

const REDRAW_MS = 1000;
/** Claims per second are the mean of so many. */
const RATE_SECONDS = 10;
const HOME_AND_CLEAR = "\x1b[H\x1b[J";
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";

export function topCommand(cli: Cli): Command {
  return command("top", {
    summary: "Watch docks, VMs, memory and claims",
    more: "It is drawn again every second on a terminal; elsewhere, and with --once, it is shown once.",
    examples: ["substrate top", "substrate top --once --format json"],
  })
    .option("--once", "show it once")
    .action(async ({ once = false }: { readonly once?: boolean }) => {
      const pool = await cli.pool();
      if (once || !cli.out.isTable || cli.io.stdout.isTTY !== true) return show(cli, await look(pool));
      cli.interruptNote = undefined;
      await cli.out.text(ENTER);
      try {
        while (!cli.signal.aborted) {
          const text = draw(cli, await look(pool));
          const lines = text.split("\n").slice(0, (cli.io.stdout.rows ?? 24) - 1);
          await cli.out.text(HOME_AND_CLEAR + lines.join("\n"));
          await delay(REDRAW_MS, undefined, { signal: cli.signal }).catch(() => {});
        }
      } finally {
        cli.io.stdout.write(LEAVE);
      }
      cli.signal.throwIfAborted();
    });
}

async function look(pool: RemotePool) {
  const seconds = (await pool.stats()).slice(-RATE_SECONDS);
  const last: Second | undefined = seconds.at(-1);
  return {
    claimsPerSecond: seconds.reduce((sum, { claims }) => sum + claims, 0) / Math.max(1, seconds.length),
    failuresPerSecond: seconds.reduce((sum, { failures }) => sum + failures, 0) / Math.max(1, seconds.length),
    p50Ms: seconds.findLast(({ p50Ms }) => p50Ms !== null)?.p50Ms ?? null,
    memory: { ...pool.memory, bytes: last?.memoryBytes ?? pool.memory.bytes },
    docks: pool.docks,
    vms: pool.vms.map(vmRow),
  };
}
type Looked = Awaited<ReturnType<typeof look>>;

async function show(cli: Cli, looked: Looked): Promise<void> {
  if (cli.out.isTable) await cli.out.text(draw(cli, looked));
  else await cli.out.one(looked, []);
}

function draw(
  { out: { paint } }: Cli,
  { claimsPerSecond, failuresPerSecond, p50Ms, memory, docks, vms }: Looked,
): string {
  const times = p50Ms === null ? "" : `, p50 ${formatDuration(p50Ms)}`;
  const budget = memory.budgetBytes === undefined ? "" : ` of ${formatBytes(memory.budgetBytes)}`;
  const head = [
    `${vms.length} VMs, ${memory.clones} clones in all`,
    `${formatBytes(memory.bytes)}${budget}`,
    `${claimsPerSecond.toFixed(1)} claims/s${times}`,
    `${failuresPerSecond.toFixed(1)} failures/s`,
  ];
  const ofDocks = table(
    docks,
    [
      { head: "DOCK", of: ({ substrate, version }) => `${substrate}@${version}` },
      { head: "READY", align: "right", of: ({ ready }) => String(ready) },
      { head: "STARTING", align: "right", of: ({ starting }) => String(starting) },
      { head: "TARGET", align: "right", of: ({ target }) => String(target) },
      {
        head: "MEMORY",
        align: "right",
        of: ({ memoryMiB }) => (memoryMiB === undefined ? "" : `${memoryMiB.toFixed(1)} MiB`),
      },
      { head: "BREAKER", of: ({ breaker }) => breaker },
    ],
    paint,
  );
  const ofVms = table(
    vms.toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1)),
    [
      { head: "VM", of: ({ name }) => name },
      { head: "SUBSTRATE", of: ({ substrate }) => substrate },
      { head: "STATE", of: ({ state }) => state },
      { head: "ADDRESS", of: ({ address }) => address },
      { head: "PATH", of: ({ path }) => path },
      {
        head: "AGE",
        align: "right",
        of: ({ createdAt }) => formatDuration(Math.max(0, Date.now() - Date.parse(createdAt))),
      },
    ],
    paint,
  );
  return [head.join("   "), ...(docks.length === 0 ? [] : [ofDocks]), ...(vms.length === 0 ? [] : [ofVms])]
    .join("\n\n")
    .replaceAll("\n\n\n", "\n\n")
    .trimEnd()
    .concat("\n");
}
