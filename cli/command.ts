import { Command } from "commander";

export interface CommandText {
  /** One line, for the list of commands. */
  readonly summary: string;
  /** What there is to know beyond that. */
  readonly more?: string;
  /** Command lines, without the prompt. */
  readonly examples: readonly string[];
}

/** A command with its help. */
export function command(name: string, { summary, more, examples }: CommandText): Command {
  const made = new Command(name).summary(summary).description(more === undefined ? summary : `${summary}\n\n${more}`);
  const lines = examples.map((example) => `  $ ${example}`);
  return examples.length === 0 ? made : made.addHelpText("after", `\nExamples:\n${lines.join("\n")}`);
}

/** Those that stand for commands of their own: "dock ls". */
export function commandGroup(
  text: CommandText & { readonly name: string; readonly commands: readonly Command[] },
): Command {
  const group = command(text.name, text).helpCommand(false);
  for (const one of text.commands) group.addCommand(one);
  return group;
}
