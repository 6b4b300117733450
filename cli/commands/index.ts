import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { activateCommand } from "./activate.ts";
import { buildCommand } from "./build.ts";
import { completionCommand, namesCommand } from "./completion.ts";
import { configCommand } from "./config.ts";
import { cpCommand } from "./cp.ts";
import { daemonCommand } from "./daemon.ts";
import { debugCommand } from "./debug.ts";
import { dockCommand } from "./dock.ts";
import { eventsCommand } from "./events.ts";
import { execCommand, shellCommand } from "./exec.ts";
import { helpCommand } from "./help.ts";
import { logsCommand } from "./logs.ts";
import { releaseCommand } from "./release.ts";
import { exportCommand, importCommand, lsCommand, pruneCommand, rmCommand, scrubCommand } from "./substrates.ts";
import { doctorCommand, gcCommand } from "./system.ts";
import { topCommand } from "./top.ts";
import {
  extendCommand,
  forkCommand,
  freezeCommand,
  inspectCommand,
  parkCommand,
  psCommand,
  resumeCommand,
  shrinkCommand,
} from "./vms.ts";
import { waitCommand } from "./wait.ts";
import { webCommand } from "./web.ts";

type Make = (cli: Cli, program: Command) => Command;

const GROUPS: Readonly<Record<string, readonly Make[]>> = {
  "Substrates:": [
    buildCommand,
    lsCommand,
    rmCommand,
    pruneCommand,
    scrubCommand,
    exportCommand,
    importCommand,
    dockCommand,
  ],
  "VMs:": [
    activateCommand,
    psCommand,
    inspectCommand,
    waitCommand,
    extendCommand,
    shrinkCommand,
    parkCommand,
    resumeCommand,
    forkCommand,
    freezeCommand,
    releaseCommand,
  ],
  "Within a VM:": [execCommand, shellCommand, cpCommand, logsCommand],
  "The daemon and this machine:": [
    eventsCommand,
    topCommand,
    gcCommand,
    doctorCommand,
    debugCommand,
    configCommand,
    daemonCommand,
    webCommand,
  ],
  "The program:": [completionCommand, helpCommand],
};

/** Adds every command to the program. */
export function addCommands(cli: Cli, program: Command): void {
  for (const [group, makers] of Object.entries(GROUPS)) {
    for (const make of makers) program.addCommand(make(cli, program).helpGroup(group));
  }
  program.addCommand(namesCommand(cli), { hidden: true });
}
