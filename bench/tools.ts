import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { open } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

const TOOL_TIMEOUT_MS = 60_000;
const TERMINATION_GRACE_MS = 5000;

export interface ToolOptions {
  readonly signal: AbortSignal;
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly user?: number | undefined;
  readonly cwd?: string | undefined;
}

/** @returns what it wrote to stdout */
export async function tool(argv: readonly [string, ...string[]], options: ToolOptions): Promise<string> {
  const [program, ...args] = argv;
  const { user, ...others } = options;
  const ids = user === undefined ? {} : { uid: user, gid: user };
  const { stdout } = await run(program, args, { ...others, ...ids, timeout: TOOL_TIMEOUT_MS });
  return stdout;
}

/** With the file system's copy-on-write where it has one. Sparse. */
export async function copyImage(from: string, to: string, signal: AbortSignal): Promise<void> {
  await tool(["cp", "--reflink=auto", "--sparse=auto", from, to], { signal });
}

interface Started extends AsyncDisposable {
  /** Resolves when it has ended. */
  readonly ended: Promise<unknown>;
}

/** In a session of its own, so that Ctrl-C ends it by us. Ended by SIGTERM, and SIGKILL after a grace period, when disposed. */
export async function start(
  argv: readonly [string, ...string[]],
  logFile: string,
  options: Omit<ToolOptions, "signal">,
) {
  const [program, ...args] = argv;
  const { user, ...others } = options;
  const ids = user === undefined ? {} : { uid: user, gid: user };
  await using log = await open(logFile, "a");
  const child = spawn(program, args, { ...others, ...ids, detached: true, stdio: ["ignore", log.fd, log.fd] });
  const ended = once(child, "exit");
  ended.catch(() => {});
  await once(child, "spawn");
  const started: Started = {
    ended,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), TERMINATION_GRACE_MS);
      await ended;
      clearTimeout(timer);
    },
  };
  return started;
}
