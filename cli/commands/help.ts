import type { Command } from "commander";
import { VmSubstrateError } from "../../lib/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { exitCodesText } from "../exit-codes.ts";

export function helpCommand(cli: Cli, program: Command): Command {
  return command("help", {
    summary: "Show the help of a command, or what exit statuses mean",
    examples: ["substrate help activate", "substrate help dock set", "substrate help exit-codes"],
  })
    .argument("[topic...]", "a command, or exit-codes")
    .action(async (topic: readonly string[]) => {
      if (topic.join(" ") === "exit-codes") return cli.out.text(exitCodesText());
      let found = program;
      for (const name of topic) {
        const next = found.commands.find((one) => one.name() === name);
        if (next === undefined) {
          throw new VmSubstrateError(
            "INVALID_ARGUMENT",
            `there is no help about "${topic.join(" ")}"; see substrate help`,
          );
        }
        found = next;
      }
      return found.outputHelp();
    });
}
