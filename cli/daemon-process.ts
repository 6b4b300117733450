import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { connect, type RemotePool } from "../client/index.ts";
import { daemonPlace, ensurePrivateDir } from "../lib/host/index.ts";
import { type Directories, isVmSubstrateError, VmSubstrateError } from "../lib/index.ts";
import { lastLines, loggedError, openDaemonLog, readLog } from "./daemon-log.ts";

/** A daemon takes the VMs of the one before over, which asks each of them. */
const START_DEADLINE_MS = 60_000;
const PAUSE_MS = 50;
/** One that was killed keeps its state directory until the kernel has cleared it away. */
const MAX_STARTS = 5;
/** What a daemon has no use for, and its processes should not have. */
const NOT_INHERITED = ["VM_SUBSTRATE_URL", "VM_SUBSTRATE_TOKEN"];

export interface DaemonStart {
  /** This program, up to its own arguments. */
  readonly self: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** For `daemon run`: directories, `--config`, `--listen`. */
  readonly arguments: readonly string[];
  readonly directories: Directories;
  readonly signal: AbortSignal;
}

/**
 * Starts a daemon in the background and connects to it. Of several that are started at a time one stays, and all callers get that.
 * @throws VmSubstrateError DAEMON_UNREACHABLE with the end of its log, STATE_DIR_LOCKED when a program has the state directory
 */
export async function startDaemon(start: DaemonStart): Promise<RemotePool> {
  const { log, stateDir } = await daemonPlace(start.directories);
  await ensurePrivateDir(stateDir);
  const deadline = performance.now() + START_DEADLINE_MS;
  for (let starts = 1; ; starts++) {
    using begun = await begin(start, log);
    const pool = await answers(begun, start, deadline);
    if (pool !== undefined) return pool;
    const said = await readLog(log, begun.logEnd);
    const error = loggedError(said);
    if (error?.code !== "STATE_DIR_LOCKED") throw failedToStart(error, said, log);
    await requireDaemonAsOwner(error);
    // Another one was faster, and may not listen yet.
    const other = await answers(
      { isOver: () => false },
      start,
      Math.min(deadline, performance.now() + PAUSE_MS * 2 ** starts),
    );
    if (other !== undefined) return other;
    if (starts >= MAX_STARTS) {
      const last = await answers({ isOver: () => false }, start, deadline);
      if (last !== undefined) return last;
      throw failedToStart(error, said, log);
    }
  }
}

async function begin({ self, env, arguments: given, signal }: DaemonStart, logFile: string) {
  const opened = await openDaemonLog(logFile);
  await using log = opened.log;
  const [program = process.execPath, ...args] = self;
  const child = spawn(program, [...args, "daemon", "run", "--format", "json", ...given], {
    detached: true,
    stdio: ["ignore", log.fd, log.fd],
    cwd: "/",
    env: Object.fromEntries(Object.entries(env).filter(([name]) => !NOT_INHERITED.includes(name))),
  });
  const isOver = endOf(child);
  child.unref();
  const giveUp = () => void child.kill("SIGTERM");
  signal.addEventListener("abort", giveUp, { once: true });
  // One that answers is everybody's, and not this command's any more.
  const keep = () => signal.removeEventListener("abort", giveUp);
  return { isOver, logEnd: opened.end, [Symbol.dispose]: keep };
}

function endOf(child: ChildProcess): () => boolean {
  let isOver = false;
  for (const event of ["exit", "error"]) child.once(event, () => (isOver = true));
  return () => isOver;
}

/** Connects as soon as somebody answers. @returns undefined when the process has ended before, or it takes too long */
async function answers({ isOver }: { isOver: () => boolean }, { directories, signal }: DaemonStart, deadline: number) {
  for (;;) {
    const wasOver = isOver();
    try {
      return await connect({ ...directories, signal });
    } catch (error) {
      if (!isVmSubstrateError(error, "DAEMON_UNREACHABLE")) throw error;
    }
    if (wasOver || performance.now() > deadline) return undefined;
    await delay(PAUSE_MS, undefined, { signal }).catch((cause: unknown) => {
      throw new VmSubstrateError("ABORTED", "stopped while the daemon was started", { cause });
    });
  }
}

/** @throws VmSubstrateError STATE_DIR_LOCKED when another program has it, which will not let it go */
async function requireDaemonAsOwner({ details }: VmSubstrateError): Promise<void> {
  const { pid, stateDir } = details;
  const commandLine = await readFile(`/proc/${Number(pid)}/cmdline`, "utf8").catch(() => undefined);
  if (commandLine === undefined || commandLine.includes("\0daemon\0run\0")) return;
  const program = commandLine.split("\0").join(" ").trim().slice(0, 200);
  const message = `${String(stateDir)} is open in process ${String(pid)} (${program}), which is no daemon; close the pool there, or name another --state-dir`;
  throw new VmSubstrateError("STATE_DIR_LOCKED", message, { details });
}

function failedToStart(error: VmSubstrateError | undefined, said: string, log: string): VmSubstrateError {
  const why = error === undefined ? "" : ` (${error.code}: ${error.message})`;
  const end = said.trim() === "" ? "it is empty" : `its end:\n${lastLines(said)}`;
  const options = error === undefined ? {} : { cause: error };
  return new VmSubstrateError("DAEMON_UNREACHABLE", `the daemon did not start${why}; its log is ${log}, ${end}`, {
    ...options,
    details: { log },
  });
}
