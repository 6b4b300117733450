import type { Command } from "commander";
import { type DoctorCheck, doctor } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { readConfig } from "../settings.ts";

export function gcCommand(cli: Cli): Command {
  return command("gc", {
    summary: "Take away what is nobody's",
    more: "Processes, folders, RAM files, records and leases that no VM has. In a daemon that runs there is nothing to find.",
    examples: ["substrate gc"],
  }).action(async () => {
    const pool = await cli.pool();
    const report = await pool.gc();
    const shown = Object.entries(report).map(([what, list]: [string, readonly string[]]) => {
      return [what, list.length === 0 ? "nothing" : list.join(", ")] as const;
    });
    await cli.out.one(report, shown);
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
