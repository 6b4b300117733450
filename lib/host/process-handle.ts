import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { processStartTime, processStartTimeSync } from "./proc.ts";

/** How often an adopted process is looked at; nothing tells us of its end, because it is not our child. */
const ADOPTED_POLL_MS = 200;
/** Never through a link: what QEMU writes about a guest must not end up in another file. */
const LOG_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW;

export interface ExitCause {
  /** Null when a signal ended the process, and also when it was not our child: then nobody tells. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What names a process exactly: PIDs are reused, together with the start time they are not. */
export interface ProcessName {
  readonly pid: number;
  /** Clock ticks after boot, see `processStartTime`. */
  readonly startTime: number;
}

/** A process that can be ended and tells of its end, whoever started it. */
export interface ProcessHandle {
  readonly pid: number;
  readonly exited: Promise<ExitCause>;
  /** Never hits another process that has got the PID meanwhile. */
  signal(signal: NodeJS.Signals): void;
  /** Lets it go on without us: `exited` may never settle, and nothing waits for it. */
  detach(): void;
}

/** Where a VM's files are, and the sockets that it listens on. */
export interface VmPlace {
  readonly dir: string;
  readonly sockets: string;
}

/** What is to run, and what it gets. */
export interface SpawnRequest {
  readonly binary: string;
  readonly argv: readonly string[];
  /** Its stdout and stderr, appended to. A file, not a pipe: the process must be able to outlive this one. */
  readonly logFile: string;
  /** Files that it finds open for reading at its descriptors 3, 4, ... */
  readonly inheritFiles?: readonly string[];
}

/**
 * Starts a child in a session of its own. Node's child handle knows whether the process was reaped, so that a signal through
 * it never hits a reused PID.
 */
export async function spawnProcess(request: SpawnRequest): Promise<ProcessHandle> {
  await using opened = new AsyncDisposableStack();
  const log = opened.use(await open(request.logFile, LOG_FLAGS, 0o600));
  const files: FileHandle[] = [];
  for (const file of request.inheritFiles ?? []) files.push(opened.use(await open(file)));
  const stdio = ["ignore" as const, log.fd, log.fd, ...files.map(({ fd }) => fd)];
  const child = spawn(request.binary, request.argv, { stdio, detached: true });
  // Attached before the first await: a process that ends at once must not go unnoticed.
  const exited = new Promise<ExitCause>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.on("error", reject);
  });
  return { pid: child.pid as number, exited, signal: (signal) => child.kill(signal), detach: () => child.unref() };
}

/** @returns undefined when there is no such process any more */
export async function adoptProcess(name: ProcessName): Promise<ProcessHandle | undefined> {
  return (await processStartTime(name.pid)) === name.startTime ? watchProcess(name) : undefined;
}

/** A process that is not our child, and may be gone already. */
export function watchProcess({ pid, startTime }: ProcessName): ProcessHandle {
  let killedBy: NodeJS.Signals | null = null;
  const { promise: exited, resolve } = Promise.withResolvers<ExitCause>();
  const look = async () => {
    if ((await processStartTime(pid)) === startTime) return;
    clearInterval(poll);
    resolve({ code: null, signal: killedBy });
  };
  const poll = setInterval(() => void look(), ADOPTED_POLL_MS);
  const signal = (name: NodeJS.Signals) => {
    // Compared in the same turn as the signal: as near to a pidfd as Node comes.
    if (processStartTimeSync(pid) !== startTime) return;
    killedBy = name;
    process.kill(pid, name);
  };
  return { pid, exited, signal, detach: () => clearInterval(poll) };
}
