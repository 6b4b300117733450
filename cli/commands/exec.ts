import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { execExitCode, type GuestProgram, runInGuest } from "../guest-program.ts";
import { duration, pair } from "../values.ts";

interface Options {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly timeout?: number;
}

export function execCommand(cli: Cli): Command {
  return command("exec", {
    summary: "Run a program in a VM, as root and without a shell",
    more: "It ends with the program's own status, with 128 and the signal's number when a signal has ended it, and with 125 when it could not be run at all. Standard input is passed on unless it is a terminal; Ctrl-C goes to the program, a second one gives it up.",
    examples: [
      "substrate exec node-0 -- uname -a",
      "substrate exec node-0 -- sh -c 'hostname; exit 7'",
      "tar -c site | substrate exec -i node-0 -- tar -x -C /srv",
    ],
  })
    .argument("<vm>")
    .argument("<command...>", "the program and its arguments, after --")
    .option("-i, --interactive", "pass standard input on, also from a terminal")
    .option("-t, --tty", "give it a terminal, which this one shows")
    .option("--env <key=value>", "its environment, in addition to the VM's; several times", pair)
    .option("--cwd <folder>", "the folder it starts in")
    .option("--timeout <duration>", "it is killed after so long, and the status is 124", duration)
    .action(async (name: string, argv: readonly string[], options: Options) => {
      const { interactive, tty = false, env, cwd, timeout: timeoutMs } = options;
      const input = interactive ?? (tty || cli.io.stdin.isTTY !== true);
      await run(cli, name, { argv, env, cwd, input, tty, timeoutMs });
    });
}

export function shellCommand(cli: Cli): Command {
  return command("shell", {
    summary: "Open a shell in a VM, or another program with a terminal",
    examples: ["substrate shell node-0", "substrate shell node-0 -- top"],
  })
    .argument("<vm>")
    .argument("[command...]", "instead of sh -l, after --")
    .action(async (name: string, argv: readonly string[]) => {
      await run(cli, name, { argv: argv.length === 0 ? ["sh", "-l"] : argv, input: true, tty: true });
    });
}

async function run(cli: Cli, name: string, program: GuestProgram): Promise<void> {
  try {
    const vm = await (await cli.pool()).find(name);
    cli.exitCode = await runInGuest(cli, vm, program);
  } catch (error) {
    cli.exitCode = execExitCode(error);
    cli.failed(error);
  }
}
