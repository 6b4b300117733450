import type { Command } from "commander";
import type { SubstrateInfo } from "../../lib/index.ts";
import { build } from "../build.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { table } from "../output/table.ts";
import { showSubstrates } from "../substrate-rows.ts";

interface Options {
  readonly name?: string;
  readonly explain?: boolean;
}

export function buildCommand(cli: Cli): Command {
  return command("build", {
    summary: "Make a substrate by a recipe",
    more: "Nothing is made when the catalog has one of the same inputs. A name with a slash, or that ends with .yaml, is a recipe's file.",
    examples: ["substrate build mini", "substrate build web.yaml --name shop", "substrate build debian --explain"],
  })
    .argument("[recipe]", "mini, debian, or a file", "mini")
    .option("--name <name>", "the substrate's name; default the recipe's")
    .option("--explain", "tell what was taken out of the guest before it was frozen, and why")
    .action(async (recipe: string, { name, explain = false }: Options) => {
      const isFile = /\.ya?ml$/.test(recipe) || recipe.includes("/");
      const what = isFile ? { recipeFile: recipe } : { recipe };
      const built = await build(cli, name === undefined ? what : { ...what, name });
      if (built.reused) cli.out.say(`${built.name}@${built.version} was there, and is up to date`);
      await showSubstrates(cli, [built]);
      if (explain && cli.out.isTable && !cli.out.options.quiet) await showGeneralized(cli, built);
    });
}

/** JSON has it in any case. */
async function showGeneralized(cli: Cli, { generalized }: SubstrateInfo): Promise<void> {
  const text = table(
    generalized,
    [
      { head: "TAKEN OUT", of: ({ trace }) => trace },
      { head: "FILES", align: "right", of: ({ files }) => String(files) },
      { head: "WHY", of: ({ why }) => why },
    ],
    cli.out.paint,
  );
  await cli.out.text(`\n${text}`);
}
