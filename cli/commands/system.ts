import { type Command, Option } from "commander";
import { type DoctorCheck, doctor } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { readConfig } from "../settings.ts";
import { formatBytes } from "../units.ts";
import { duration, whole } from "../values.ts";

interface GcFlags {
  readonly unusedFor?: number;
  readonly maxCache?: number;
  readonly all?: true;
}

export function gcCommand(cli: Cli): Command {
  return command("gc", {
    summary: "Take away what is nobody's, and what builds have not needed for long",
    more:
      "Processes, folders, RAM files, records and leases that no VM has: in a daemon that runs there is nothing to find. " +
      "And of the cache, disks and layers of recipes: what no build has needed for 30 days.",
    examples: ["substrate gc", "substrate gc --unused-for 7d --max-cache 4096", "substrate gc --all"],
  })
    .option("--unused-for <time>", "how long something of the cache was not needed (30d)", duration)
    .option("--max-cache <MiB>", "how much of the cache stays, the longest unused goes first", whole)
    .addOption(new Option("--all", "the whole cache").conflicts("unusedFor"))
    .action(async ({ unusedFor, maxCache, all }: GcFlags) => {
      const pool = await cli.pool();
      const report = await pool.gc({ cacheUnusedForMs: all === true ? 0 : unusedFor, cacheMaxMiB: maxCache });
      const { cache, ...lists } = report;
      const { removed, freedBytes, leftBytes, busy } = cache;
      if (busy) cli.out.say("another process builds: the cache was left as it is");
      const freed = removed.length === 0 ? "nothing" : `${removed.join(", ")} (${formatBytes(freedBytes)})`;
      const shown = Object.entries(lists).map(([what, list]: [string, readonly string[]]) => {
        return [what, list.length === 0 ? "nothing" : list.join(", ")] as const;
      });
      await cli.out.one(report, [...shown, ["cache", `${freed}; ${formatBytes(leftBytes)} stay`]]);
    });
}

const MARKS = { ok: ["green", "ok"], warn: ["yellow", "warn"], fail: ["red", "fail"] } as const;

export function doctorCommand(cli: Cli): Command {
  return command("doctor", {
    summary: "Check whether this machine can run VMs",
    more: "It needs no daemon; with --url it is the daemon's machine. Exit status 1 when VMs cannot be made.",
    examples: ["substrate doctor", "substrate doctor --format json"],
  }).action(async () => {
    const { url, directories } = await cli.settings();
    const checks: readonly DoctorCheck[] =
      url === undefined
        ? await doctor({ ...directories, qemu: (await readConfig(cli.options, cli.io.env)).qemu })
        : await (await cli.pool()).doctor();
    if (checks.some(({ status }) => status === "fail")) cli.exitCode = 1;
    const { paint } = cli.out;
    if (!cli.out.isTable) return cli.out.list(checks, [], ({ name }) => name);
    for (const { name, status, found, hint } of checks) {
      const [color, mark] = MARKS[status];
      await cli.out.text(`${paint(color, mark.padEnd(6))}${name.padEnd(16)}${found}\n`);
      if (hint !== undefined) await cli.out.text(`${"".padEnd(22)}${paint("gray", hint)}\n`);
    }
  });
}
