import { createRequire } from "node:module";
import { Command, type CommanderError, Option } from "commander";
import { VmSubstrateError } from "../lib/index.ts";
import { Cli } from "./cli.ts";
import { addCommands } from "./commands/index.ts";
import type { Io } from "./io.ts";
import { FORMATS } from "./output/records.ts";
import type { GlobalOptions } from "./settings.ts";

// By the package's own name: the folder that this file is in differs between a checkout and an installed package.
const { version } = createRequire(import.meta.url)("vm-substrate/package.json") as { version: string };

/** One run of the program. @returns its exit status; never throws */
export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  const program = new Command("substrate");
  await using cli = new Cli(io, () => program.opts<GlobalOptions>());
  const off = io.onInterrupt((signal) => cli.interrupt(signal));
  // Of `substrate ps | head`: whoever reads has enough.
  const onClosed = (error: Error) => cli.outputFailed(error);
  io.stdout.on("error", onClosed);
  io.stderr.on("error", () => {});
  try {
    setUp(program, cli);
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof UsageError) usage(error, cli);
    else cli.failed(error);
  } finally {
    off();
  }
  return cli.status;
}

/** The program with all its commands. */
export function makeProgram(io: Io): Command {
  const program = new Command("substrate");
  setUp(program, new Cli(io, () => program.opts<GlobalOptions>()));
  return program;
}

function setUp(program: Command, cli: Cli): void {
  program
    .description("Personal, running VMs in milliseconds: of booted VMs that are kept frozen in memory.")
    .version(version, "-V, --version", "print the version")
    .helpCommand(false)
    .addOption(new Option("--format <format>", "of results").choices(FORMATS).default("table"))
    .option("-q, --quiet", "ids only, and no hints")
    .option("-v, --verbose", "details and causes of errors, and progress also where there is no terminal")
    .option("--no-color", "no colours; so does the environment's NO_COLOR")
    .option("--state-dir <folder>", "whose daemon; VM_SUBSTRATE_STATE_DIR")
    .option("--cache-dir <folder>", "for a daemon that is started; VM_SUBSTRATE_CACHE_DIR")
    .option("--runtime-dir <folder>", "where its socket is; VM_SUBSTRATE_RUNTIME_DIR")
    .option("--shared-memory-dir <folder>", "for a daemon that is started; VM_SUBSTRATE_SHARED_MEMORY_DIR")
    .option("--config <file>", "of the daemon; VM_SUBSTRATE_CONFIG")
    .option("--url <address>", "a daemon that listens on TCP, as http://127.0.0.1:7070; VM_SUBSTRATE_URL")
    .option("--token-file <file>", "with a token for --url; or the token itself in VM_SUBSTRATE_TOKEN")
    .option("--no-start", "do not start the daemon when there is none");
  program.addHelpText(
    "after",
    "\nExamples:\n  $ substrate activate 3 --substrate mini\n  $ substrate exec mini-0 -- hostname\n  $ substrate release --all\n\nMore: substrate help COMMAND, substrate help exit-codes",
  );
  addCommands(cli, program);
  for (const one of withCommands(program)) {
    one.exitOverride((cause) => {
      throw new UsageError(cause, nameOf(one));
    });
    one.configureOutput({
      writeOut: (text) => void cli.io.stdout.write(text),
      writeErr: (text) => void cli.io.stderr.write(text),
      // Said by us, as every other error.
      outputError: () => {},
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  }
}

function withCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap((one) => withCommands(one))];
}

/** "substrate dock set" */
function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

/** What the parser ends a command with, and which command that was. Help and version come this way as well. */
class UsageError extends Error {
  override readonly cause: CommanderError;
  readonly command: string;

  constructor(cause: CommanderError, command: string) {
    super(cause.message, { cause });
    this.cause = cause;
    this.command = command;
  }
}

function usage({ cause: { code, message, exitCode }, command }: UsageError, cli: Cli): void {
  if (exitCode === 0) return;
  if (code === "commander.help") {
    cli.exitCode = 2;
    return;
  }
  const said = message.replace(/^error: /, "");
  cli.failed(new VmSubstrateError("INVALID_ARGUMENT", `${said}; see ${command} --help`));
}
