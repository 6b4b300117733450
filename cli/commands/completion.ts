import { Argument, type Command } from "commander";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { bashCompletion } from "../completion/bash.ts";
import { fishCompletion } from "../completion/fish.ts";
import { NAMES_COMMAND, wordsOf } from "../completion/words.ts";
import { zshCompletion } from "../completion/zsh.ts";

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

export function completionCommand(cli: Cli, program: Command): Command {
  return command("completion", {
    summary: "Print a script that lets a shell complete commands, options and names",
    examples: [
      "source <(substrate completion bash)",
      "substrate completion zsh > ~/.zfunc/_substrate",
      "substrate completion fish > ~/.config/fish/completions/substrate.fish",
    ],
  })
    .addArgument(new Argument("<shell>", "whose").choices(Object.keys(SCRIPTS)))
    .action(async (shell: keyof typeof SCRIPTS) => cli.out.text(SCRIPTS[shell](wordsOf(program))));
}

/** For those scripts: it says nothing when it fails, and starts no daemon. */
export function namesCommand(cli: Cli): Command {
  return command(NAMES_COMMAND, { summary: "Names, for completion scripts", examples: [] })
    .addArgument(new Argument("<kind>").choices(["vm", "substrate"]))
    .action(async (kind: "vm" | "substrate") => {
      const pool = await cli.pool({ start: false });
      const names =
        kind === "vm"
          ? pool.vms.map(({ hostname }) => hostname)
          : [...new Set((await pool.substrates()).map(({ name }) => name))];
      await cli.out.text(names.map((name) => `${name}\n`).join(""));
    });
}
