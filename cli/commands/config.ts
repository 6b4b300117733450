import { existsSync } from "node:fs";
import type { Command } from "commander";
import { stringify } from "yaml";
import { defaultConfigFile } from "../../lib/host/index.ts";
import type { Cli } from "../cli.ts";
import { command, commandGroup } from "../command.ts";
import { records } from "../output/records.ts";
import { configFileOf, givenDirectories, readConfig } from "../settings.ts";

export function configCommand(cli: Cli): Command {
  return commandGroup({
    name: "config",
    summary: "Look at the daemon's configuration",
    examples: ["substrate config check", "substrate config show", "substrate config path"],
    commands: [checkCommand(cli), showCommand(cli), pathCommand(cli)],
  });
}

function fileOf(cli: Cli): string {
  return configFileOf(cli.options, cli.io.env) ?? defaultConfigFile(cli.io.env);
}

function checkCommand(cli: Cli): Command {
  return command("check", {
    summary: "Whether the configuration can be used",
    more: "Exit status 2 when it cannot, with line and field. A daemon that runs reads it when it is started again.",
    examples: ["substrate config check", "substrate config check --config new.yaml"],
  }).action(async () => {
    await readConfig(cli.options, cli.io.env);
    const file = fileOf(cli);
    const state = existsSync(file) ? "ok" : "missing, so that all is as by default";
    await cli.out.one({ file, ok: true }, [[file, state]]);
  });
}

function showCommand(cli: Cli): Command {
  return command("show", {
    summary: "The configuration, with options and environment that go before it",
    examples: ["substrate config show", "substrate config show --format json"],
  }).action(async () => {
    const config = { ...(await readConfig(cli.options, cli.io.env)), ...givenDirectories(cli.options, cli.io.env) };
    const { format } = cli.out.options;
    await cli.out.text(format === "table" ? stringify(config) : records(config, format));
  });
}

function pathCommand(cli: Cli): Command {
  return command("path", { summary: "Where it is, or would be", examples: ["substrate config path"] }).action(() =>
    cli.out.text(`${fileOf(cli)}\n`),
  );
}
