import { NAMES_COMMAND, type Words } from "./words.ts";

/** A script for fish; to be put into ~/.config/fish/completions/substrate.fish. */
export function fishCompletion(all: readonly Words[]): string {
  const lines = all.flatMap(({ path, commands, options, operand }) => {
    const when = condition(path);
    const ofCommands = commands.map(
      ({ name, summary }) => `complete -c substrate ${when} -a ${name} -d '${text(summary)}'`,
    );
    const ofOptions = options.map(({ flag, summary, choices, takesValue }) => {
      const name = flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`;
      const value = choices.length > 0 ? ` -x -a '${choices.join(" ")}'` : takesValue ? " -r" : "";
      return `complete -c substrate ${when} ${name}${value} -d '${text(summary)}'`;
    });
    const named =
      operand === "file" || commands.length > 0
        ? []
        : [`complete -c substrate ${when} -a '(substrate ${NAMES_COMMAND} ${operand} 2>/dev/null)'`];
    return [...ofCommands, ...ofOptions, ...named];
  });
  return `# fish completion for substrate; made by: substrate completion fish
complete -c substrate -f
${lines.join("\n")}
`;
}

function condition(path: string): string {
  if (path === "") return "-n __fish_use_subcommand";
  const seen = path.split(" ").map((word) => `__fish_seen_subcommand_from ${word}`);
  return `-n '${seen.join("; and ")}'`;
}

function text(summary: string): string {
  return summary.replaceAll("'", "");
}
