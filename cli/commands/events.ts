import { type Command, InvalidArgumentError } from "commander";
import { type DaemonEvent, EVENT_TYPES, type EventType } from "../../api/index.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import { printable } from "../output/printable.ts";
import { whole } from "../values.ts";

interface Options {
  readonly follow?: boolean;
  readonly type?: readonly EventType[];
  readonly past?: number;
}

const DEFAULT_PAST = 100;

export function eventsCommand(cli: Cli): Command {
  return command("events", {
    summary: "Show what happened, and what happens",
    more: `The types are ${EVENT_TYPES.join(", ")}. JSON has one event a line.`,
    examples: [
      "substrate events",
      "substrate events --follow --type activated --type released",
      "substrate events --follow --format json",
    ],
  })
    .option("-f, --follow", "go on with what happens from now on")
    .option("--type <type>", "only these; several times", eventType)
    .option("--past <count>", `how many of the last ones; default ${DEFAULT_PAST}, with --follow 0`, whole)
    .action(async ({ follow = false, type, past = follow ? 0 : DEFAULT_PAST }: Options) => {
      const pool = await cli.pool();
      if (follow) cli.interruptNote = undefined;
      // In order, however slow the reader is.
      let written = Promise.resolve();
      const onEvent = (event: Omit<DaemonEvent, "id">) => {
        written = written.then(() => cli.out.next(event, lineOf(event)));
      };
      await pool.watch({ types: type, past, follow, signal: cli.signal, onEvent });
      await written;
      cli.signal.throwIfAborted();
    });
}

function eventType(text: string, before: readonly EventType[] = []): readonly EventType[] {
  const type = EVENT_TYPES.find((one) => one === text);
  if (type === undefined) throw new InvalidArgumentError(`expected one of ${EVENT_TYPES.join(", ")}`);
  return [...before, type];
}

function lineOf(event: Omit<DaemonEvent, "id">): string {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the id is not used
  return `${event.at}  ${event.type.padEnd(12)}  ${printable(subject(event as DaemonEvent))}`;
}

function subject(event: DaemonEvent): string {
  switch (event.type) {
    case "dock": {
      const { substrate, ready, starting, target, lastError } = event.data.dock;
      return `${substrate}: ${ready} ready, ${starting} starting, ${target} wanted${lastError === null ? "" : `; ${lastError}`}`;
    }
    case "undocked":
      return event.data.dock.substrate;
    case "built":
    case "removed":
      return `${event.data.substrate.name}@${event.data.substrate.version}`;
    case "operation":
      return `${event.data.operation.kind} ${event.data.operation.id} ${event.data.operation.state}`;
    case "waiting":
      return `${event.data.count} of ${event.data.substrate}, ${event.data.position} in line`;
    case "failed":
      return `${event.data.what} of ${event.data.count} of ${event.data.substrate}: ${event.data.error.code}: ${event.data.error.detail}`;
    case "unresponsive":
      return `${nameOf(event.data.vm)}: ${event.data.error.detail}`;
    case "exit":
      return `${nameOf(event.data.vm)}: code ${event.data.code ?? "-"}, signal ${event.data.signal ?? "-"}`;
    case "forked":
      return `${nameOf(event.data.vm)}: ${event.data.report.count} forks, stood still for ${Math.round(event.data.report.pauseMs)} ms`;
    default:
      return nameOf(event.data.vm);
  }
}

function nameOf({ hostname, id }: { readonly hostname: string; readonly id: string }): string {
  return `${hostname} (${id})`;
}
