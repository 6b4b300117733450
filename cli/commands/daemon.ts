import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import type { DaemonView } from "../../api/index.ts";
import { daemonPlace, processStartTime } from "../../lib/host/index.ts";
import { isVmSubstrateError, VmSubstrateError } from "../../lib/index.ts";
import { type Cli, daemonArguments } from "../cli.ts";
import { command, commandGroup } from "../command.ts";
import { startDaemon } from "../daemon-process.ts";
import { readConfig } from "../settings.ts";
import { tokenFor } from "../token-file.ts";
import { formatDuration } from "../units.ts";

/** It lets work that is under way end first. */
const STOP_DEADLINE_MS = 60_000;
const STOP_PAUSE_MS = 50;

export function daemonCommand(cli: Cli): Command {
  return commandGroup({
    name: "daemon",
    summary: "The process that has the VMs",
    more: "Every command that needs it starts it. It runs on, since it keeps docks filled and looks after VMs; those outlive it.",
    examples: ["substrate daemon status", "substrate daemon start --listen 127.0.0.1:7070", "substrate daemon stop"],
    commands: [runCommand(cli), startCommand(cli), stopCommand(cli), statusCommand(cli), tokenCommand(cli)],
  });
}

function runCommand(cli: Cli): Command {
  return command("run", {
    summary: "Be the daemon, in the foreground",
    more: "It logs to standard error, one JSON object a line. It ends with SIGTERM or Ctrl-C; VMs go on.",
    examples: ["substrate daemon run", "substrate daemon run --config daemon.yaml --listen 127.0.0.1:7070"],
  })
    .option("--listen <host:port>", "listen on TCP as well, for who has a token; port 0 is any that is free")
    .action(async ({ listen }: { readonly listen?: string }) => {
      const { Daemon } = await import("../../daemon/index.ts");
      const { directories } = await cli.settings();
      const config = await readConfig(cli.options, cli.io.env);
      const tcp = listen === undefined ? {} : { listen: { ...config.listen, tcp: listen } };
      cli.interruptNote = undefined;
      await using daemon = await Daemon.start({ ...config, ...directories, ...tcp });
      if (!cli.signal.aborted) await once(cli.signal, "abort");
      await daemon.stop();
    });
}

function startCommand(cli: Cli): Command {
  return command("start", {
    summary: "Start it in the background, unless it runs",
    examples: ["substrate daemon start", "substrate daemon start --listen 127.0.0.1:7070"],
  })
    .option("--listen <host:port>", "listen on TCP as well, for who has a token")
    .action(async ({ listen }: { readonly listen?: string }) => {
      requireLocal(cli, "daemon start");
      if ((await running(cli)) !== undefined) {
        cli.out.say(`it runs already${listen === undefined ? "" : "; --listen counts when it is started again"}`);
      } else {
        const settings = await cli.settings();
        const args = [...daemonArguments(settings), ...(listen === undefined ? [] : ["--listen", listen])];
        const { directories } = settings;
        cli.out.progress.show("starting the daemon");
        const pool = await startDaemon({ ...cli.io, arguments: args, directories, signal: cli.signal });
        await pool.close();
      }
      await showStatus(cli, await running(cli));
    });
}

function stopCommand(cli: Cli): Command {
  return command("stop", {
    summary: "Stop it; VMs go on, and docks come back with the next one",
    examples: ["substrate daemon stop"],
  }).action(async () => {
    requireLocal(cli, "daemon stop");
    const daemon = await running(cli);
    if (daemon === undefined) {
      cli.out.say("no daemon runs");
      return;
    }
    const started = await processStartTime(daemon.pid);
    process.kill(daemon.pid, "SIGTERM");
    const deadline = performance.now() + STOP_DEADLINE_MS;
    cli.out.progress.show("waiting for the daemon to end");
    const isThere = async () => started !== undefined && (await processStartTime(daemon.pid)) === started;
    while (await isThere()) {
      if (performance.now() > deadline) {
        throw new VmSubstrateError(
          "TIMEOUT",
          `process ${daemon.pid} has not ended; its log tells why: ${(await place(cli)).log}`,
        );
      }
      await delay(STOP_PAUSE_MS, undefined, { signal: cli.signal });
    }
    cli.out.say(`stopped; ${daemon.vms} VMs go on`);
  });
}

function statusCommand(cli: Cli): Command {
  return command("status", {
    summary: "Whether it runs; it is not started. Exit status 5 when it does not",
    examples: ["substrate daemon status", "substrate daemon status --format json"],
  }).action(async () => showStatus(cli, await running(cli)));
}

function tokenCommand(cli: Cli): Command {
  return command("token", {
    summary: "Print a token for the daemon's TCP address",
    more: "Whoever has it can do all that you can with VMs; with --read only look.",
    examples: [
      "substrate daemon token",
      "VM_SUBSTRATE_TOKEN=$(substrate daemon token) substrate ps --url http://127.0.0.1:7070",
    ],
  })
    .option("--read", "one that can only read")
    .action(async ({ read = false }: { readonly read?: boolean }) => {
      await cli.out.text(`${await tokenFor(cli, read ? "read" : "write")}\n`);
    });
}

interface Running extends DaemonView {
  readonly vms: number;
  readonly docks: number;
}

/** Undefined when no daemon answers. */
async function running(cli: Cli): Promise<Running | undefined> {
  const { directories, url, token } = await cli.settings();
  const { connect } = await import("../../client/index.ts");
  try {
    const target = url === undefined ? directories : { url, ...(token === undefined ? {} : { token }) };
    await using pool = await connect({ ...target, signal: cli.signal });
    return { ...(await pool.daemon()), vms: pool.vms.length, docks: pool.docks.length };
  } catch (error) {
    if (isVmSubstrateError(error, "DAEMON_UNREACHABLE")) return undefined;
    throw error;
  }
}

async function showStatus(cli: Cli, daemon: Running | undefined): Promise<void> {
  if (daemon === undefined) {
    cli.exitCode = 5;
    return cli.out.one({ running: false }, [["state", "not running"]]);
  }
  const { url } = await cli.settings();
  const { socket, log } = url === undefined ? await place(cli) : { socket: null, log: null };
  await cli.out.one({ running: true, socket, log, ...daemon }, [
    ["state", "running"],
    ["process", String(daemon.pid)],
    ["version", daemon.version],
    ["since", `${daemon.startedAt}, for ${formatDuration(Math.max(0, Date.now() - Date.parse(daemon.startedAt)))}`],
    ["socket", socket ?? ""],
    ["log", log ?? ""],
    ["TCP", daemon.url ?? "off"],
    ["state directory", daemon.directories.stateDir],
    ["VMs", String(daemon.vms)],
    ["docks", String(daemon.docks)],
  ]);
}

async function place(cli: Cli) {
  return daemonPlace((await cli.settings()).directories);
}

function requireLocal(cli: Cli, what: string): void {
  if (!(cli.options.url ?? cli.io.env.VM_SUBSTRATE_URL)) return;
  throw new VmSubstrateError("INVALID_ARGUMENT", `${what} is for the daemon of this machine; leave --url away`);
}
