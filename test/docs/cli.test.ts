import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { EXIT_CODES } from "../../cli/exit-codes.ts";
import { processIo } from "../../cli/io.ts";
import { makeProgram } from "../../cli/program.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/CLI.md"), "utf8");
const program = makeProgram(processIo("main.ts"));

/** "activate", "dock set": what can be run, without what is hidden. */
function leaves(
  command: Command,
  path: readonly string[] = [],
): { readonly path: string; readonly command: Command }[] {
  const shown = command.createHelp().visibleCommands(command);
  if (shown.length === 0) return [{ path: path.join(" "), command }];
  return shown.flatMap((one) => leaves(one, [...path, one.name()]));
}

/** Every command line in the help of a command. */
function examplesOf(command: Command): string[] {
  let text = "";
  command
    .configureOutput({
      writeOut: (part) => {
        text += part;
      },
    })
    .outputHelp();
  return [...text.matchAll(/^ {2}\$ (.*)$/gm)].map(([, line = ""]) => line);
}

const commands = leaves(program);

describe("docs/CLI.md", () => {
  it("has one row for each command, with an example of it", () => {
    const rows = [...PAGE.matchAll(/^\| `substrate ([a-z ]+)` \| .+ \| `(.+)` \|$/gm)];
    expect(rows.map(([, name]) => name).toSorted()).toEqual(commands.map(({ path }) => path).toSorted());
    for (const [, name = "", example] of rows) expect(example).toContain(`substrate ${name}`);
  });

  it("has the exit statuses of the program", () => {
    const rows = [...PAGE.matchAll(/^\| (\d+) \| (.+) \|$/gm)].map(([, code, meaning]) => [code, meaning]);
    expect(rows).toEqual(Object.entries(EXIT_CODES));
  });

  it("names options and variables that there are", () => {
    const known = new Set(
      [program, ...commands.map(({ command }) => command)].flatMap(({ options }) =>
        options.flatMap(({ long }) => long ?? []),
      ),
    );
    for (const [, option = ""] of PAGE.matchAll(/`(--[a-z-]+)/g)) expect(known, option).toContain(option);
    const help = program.helpInformation();
    for (const [, name = ""] of PAGE.matchAll(/`(VM_SUBSTRATE_(?!DEBUG)[A-Z_]+)`/g)) expect(help).toContain(name);
  });
});

describe("the help", () => {
  it.each(commands.map(({ path, command }) => [path, command] as const))(
    "of %s has examples of it",
    (path, command) => {
      const examples = examplesOf(command);
      expect(examples.length).toBeGreaterThan(0);
      for (const example of examples) expect(example).toContain(`substrate ${path}`);
    },
  );
});
