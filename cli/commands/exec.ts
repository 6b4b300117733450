import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { execExitCode, runInGuest } from "../guest-program.ts";
import { duration, pair } from "../values.ts";

interface Options {
  readonly interactive?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeout?: number;
}

export function execCommand(cli: Cli): Command {
  return command("exec", {
    summary: "Run a program in a VM, as root and without a shell",
    more: "It ends with the program's own status, with 128 and the signal's number when a signal has ended it, and with 125 when it could not be run at all. Standard input is passed on unless it is a terminal.",
    examples: [
      "substrate exec node-0 -- uname -a",
      "substrate exec node-0 -- sh -c 'echo $HOSTNAME; exit 7'",
      "tar -c site | substrate exec -i node-0 -- tar -x -C /srv",
    ],
  })
    .argument("<vm>")
    .argument("<command...>", "the program and its arguments, after --")
    .option("-i, --interactive", "pass standard input on, also from a terminal")
    .option("--env <key=value>", "its environment; several times", pair)
    .option("--timeout <duration>", "it is killed after so long", duration)
    .action(async (name: string, argv: readonly string[], { interactive, env, timeout }: Options) => {
      try {
        const vm = await (await cli.pool()).find(name);
        const input = interactive ?? cli.io.stdin.isTTY !== true;
        cli.exitCode = await runInGuest(cli, vm, { argv, env, input, timeoutMs: timeout });
      } catch (error) {
        cli.exitCode = execExitCode(error);
        cli.failed(error);
      }
    });
}
