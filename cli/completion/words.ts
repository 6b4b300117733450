import type { Command } from "commander";

/** What a shell offers, by command: "dock set" has its options. */
export interface Words {
  /** "" for the program itself, "dock", "dock set". */
  readonly path: string;
  readonly summary: string;
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly options: readonly {
    readonly flag: string;
    readonly summary: string;
    readonly choices: readonly string[];
    readonly takesValue: boolean;
  }[];
  /** What its first argument names. */
  readonly operand: "vm" | "substrate" | "file";
}

/** Every command of a program, the program first. */
export function wordsOf(program: Command): Words[] {
  const globals = optionsOf(program);
  const visit = (command: Command, path: string): Words[] => {
    const shown = command.commands.filter(isShown);
    const own = command === program ? [] : optionsOf(command);
    const words: Words = {
      path,
      summary: command.summary(),
      commands: shown.map((one) => ({ name: one.name(), summary: one.summary() })),
      options: [...own, ...globals],
      operand: operandOf(command),
    };
    return [words, ...shown.flatMap((one) => visit(one, `${path} ${one.name()}`.trim()))];
  };
  return visit(program, "");
}

function isShown(command: Command): boolean {
  return command.name() !== NAMES_COMMAND;
}

/** Prints what there is of a kind, for the scripts. */
export const NAMES_COMMAND = "complete-names";

function optionsOf(command: Command): Words["options"] {
  return command.options.flatMap(({ long, short, description, argChoices = [], required, optional }) => {
    const about = { summary: description.split(";")[0] ?? "", choices: argChoices, takesValue: required || optional };
    return [short, long].flatMap((flag) => (flag === undefined || flag === null ? [] : [{ flag, ...about }]));
  });
}

function operandOf(command: Command): Words["operand"] {
  const name = command.registeredArguments[0]?.name();
  return name === "vm" || name === "substrate" ? name : "file";
}
