import type { Command } from "commander";
import type { DockOptions, DockStatus } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command, commandGroup } from "../command.ts";
import type { Column } from "../output/table.ts";
import { duration, list, whole } from "../values.ts";

interface SetOptions {
  readonly min?: number;
  readonly max?: number;
  readonly maxMib?: number;
  readonly restored?: boolean;
  readonly hostname?: string;
  readonly subnet?: string;
  readonly subnet6?: string;
  readonly reserved?: readonly string[];
}

export function dockCommand(cli: Cli): Command {
  return commandGroup({
    name: "dock",
    summary: "Keep clones ready before they are asked for",
    examples: ["substrate dock set mini --min 8 --max 32", "substrate dock wait mini 8", "substrate dock ls"],
    commands: [lsCommand(cli), setCommand(cli), rmCommand(cli), waitCommand(cli)],
  });
}

function lsCommand(cli: Cli): Command {
  return command("ls", { summary: "List docks", examples: ["substrate dock ls"] }).action(async () => {
    const pool = await cli.pool();
    await showDocks(cli, pool.docks);
  });
}

function setCommand(cli: Cli): Command {
  return command("set", {
    summary: "Set how many clones of a substrate wait",
    more: "Tell it what activations will ask for: those of the same hostname pattern, subnets and reserved ranges get a clone as it is. It stays until it is removed, also when the daemon ends or the machine boots.",
    examples: [
      "substrate dock set mini --min 8 --max 32",
      "substrate dock set mini@3 --min 4 --hostname 'match-{index}' --subnet 10.88.0.0/16",
    ],
  })
    .argument("<substrate>", "the newest version, or with @3 that one")
    .option("--min <count>", "how many wait at least", whole)
    .option("--max <count>", "how many may wait while claims come often", whole)
    .option("--max-mib <MiB>", "most memory that waiting clones take together", whole)
    .option("--restored", "waiting clones have not run yet: less memory, slower claims")
    .option("--hostname <pattern>", "of the claims to come, with {index}")
    .option("--subnet <network>", "of the claims to come")
    .option("--subnet6 <network>", "of the claims to come")
    .option("--reserved <range>", "of the claims to come; several times", list)
    .action(async (name: string, options: SetOptions) => {
      const pool = await cli.pool();
      await showDocks(cli, [await pool.dock(name, dockOptions(options))]);
    });
}

function rmCommand(cli: Cli): Command {
  return command("rm", {
    summary: "Take a dock away, with its waiting clones",
    examples: ["substrate dock rm mini"],
  })
    .argument("<substrate>")
    .action(async (name: string) => {
      const pool = await cli.pool();
      if (!(await pool.undock(name))) cli.out.say(`there was no dock of ${name}`);
    });
}

function waitCommand(cli: Cli): Command {
  return command("wait", {
    summary: "Wait until so many clones are ready",
    examples: ["substrate dock wait mini 8", "substrate dock wait mini 32 --timeout 5m"],
  })
    .argument("<substrate>")
    .argument("<count>", "how many", whole)
    .option("--timeout <duration>", "how long", duration)
    .action(async (name: string, count: number, { timeout }: { readonly timeout?: number }) => {
      const pool = await cli.pool();
      cli.out.progress.show(`waiting for ${count} clones of ${name}`);
      const given = timeout === undefined ? {} : { timeoutMs: timeout };
      await showDocks(cli, [await pool.docked(name, { count, ...given, signal: cli.signal })]);
    });
}

function dockOptions({ maxMib: maxMiB, restored, subnet, subnet6, reserved, ...same }: SetOptions): DockOptions {
  const network = { subnet, subnet6, reserved };
  const hasNetwork = Object.values(network).some((value) => value !== undefined);
  return {
    ...same,
    ...(maxMiB === undefined ? {} : { maxMiB }),
    ...(restored === true ? { primed: false } : {}),
    ...(hasNetwork ? { network } : {}),
  };
}

const COLUMNS: readonly Column<DockStatus>[] = [
  { head: "SUBSTRATE", of: dockName },
  { head: "VERSION", align: "right", of: ({ version }) => String(version) },
  { head: "READY", align: "right", of: ({ ready }) => String(ready) },
  { head: "STARTING", align: "right", of: ({ starting }) => String(starting) },
  { head: "TARGET", align: "right", of: ({ target }) => String(target) },
  { head: "MIN", align: "right", of: ({ min }) => String(min) },
  { head: "MAX", align: "right", of: ({ max }) => String(max) },
  {
    head: "MEMORY",
    align: "right",
    of: ({ memoryMiB }) => (memoryMiB === undefined ? "" : `${memoryMiB.toFixed(1)} MiB`),
  },
  { head: "BREAKER", of: ({ breaker }) => breaker },
  { head: "LAST ERROR", of: ({ lastError }) => lastError ?? "" },
];

function dockName({ substrate, version, pinned }: DockStatus): string {
  return pinned ? `${substrate}@${version}` : substrate;
}

async function showDocks(cli: Cli, docks: readonly DockStatus[]): Promise<void> {
  await cli.out.list(docks, COLUMNS, dockName);
}
