import { setTimeout as sleep } from "node:timers/promises";
import { isVmSubstrateError, VmSubstrateError, withDeadline } from "../core/index.ts";
import type { GuestAgent } from "./guest-agent.ts";
import type { GuestExecArguments, GuestExecStatus } from "./guest-agent-commands.ts";
import {
  DEFAULT_EXEC_TIMEOUT_MS,
  DEFAULT_GUEST_PATH,
  DEFAULT_MAX_EXEC_OUTPUT_BYTES,
  EXEC_KILL_TIMEOUT_MS,
  EXEC_POLL_FIRST_MS,
  EXEC_POLL_MAX_MS,
  MAX_EXEC_STDIN_BYTES,
} from "./limits.ts";

export interface GuestExecOptions {
  /** At most MAX_EXEC_STDIN_BYTES (4 MiB). */
  readonly stdin?: string | Uint8Array | undefined;
  /** Replaces the agent's whole environment; PATH is added where it is missing. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds from the call to the program's end. Default DEFAULT_EXEC_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes kept of stdout, and of stderr. Default DEFAULT_MAX_EXEC_OUTPUT_BYTES (2 MiB). */
  readonly maxOutputBytes?: number | undefined;
}

export interface GuestExecResult {
  /** Null when a signal ended the program. */
  readonly exitCode: number | null;
  /** Number of that signal, else null. */
  readonly signal: number | null;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** Whether the agent (at 16 MiB a stream) or `maxOutputBytes` cut something off. */
  readonly truncated: boolean;
}

/**
 * Runs a program in the guest, by argument list and never through a shell, and waits for its end.
 *
 * A failing program is a result, not an error. The agent sends all output in one answer, which may have
 * MAX_AGENT_DATA_LINE_BYTES (8 MiB, as base64): a program that prints more than 6 MB in all closes the channel;
 * let it write a file. When time runs out, or the signal fires, the program itself is killed, not what it started; that
 * takes up to EXEC_KILL_TIMEOUT_MS more. A start that the agent has not confirmed by then cannot be undone.
 *
 * @throws VmSubstrateError INVALID_ARGUMENT before anything is sent; GUEST_EXEC_TIMEOUT, ABORTED; GUEST_COMMAND_FAILED
 *   when the program cannot be started; GUEST_AGENT_TIMEOUT when the agent did not even start it in time, or stopped
 *   answering; GUEST_AGENT_CLOSED, GUEST_AGENT_PROTOCOL
 */
export async function guestExec(
  agent: GuestAgent,
  argv: readonly string[],
  options: GuestExecOptions = {},
): Promise<GuestExecResult> {
  const request = execRequest(argv, options);
  const timeoutMs = options.timeoutMs ?? DEFAULT_EXEC_TIMEOUT_MS;
  let pid: number | undefined;
  try {
    const deadline = { what: `program ${request.path} in the guest`, timeoutMs, signal: options.signal };
    return await withDeadline({ ...deadline, timeoutCode: "GUEST_EXEC_TIMEOUT" }, async (signal) => {
      ({ pid } = await agent.execute("guest-exec", request, { timeoutMs, signal }));
      const status = await pollUntilExit(agent, pid, timeoutMs, signal);
      pid = undefined;
      return toResult(status, options.maxOutputBytes ?? DEFAULT_MAX_EXEC_OUTPUT_BYTES);
    });
  } catch (error) {
    if (pid !== undefined) await killInGuest(agent, pid);
    else if (isVmSubstrateError(error, "GUEST_EXEC_TIMEOUT")) throw neverStarted(request.path, error);
    throw error;
  }
}

async function pollUntilExit(
  agent: GuestAgent,
  pid: number,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<GuestExecStatus> {
  for (let pauseMs = EXEC_POLL_FIRST_MS; ; pauseMs = Math.min(pauseMs * 1.5, EXEC_POLL_MAX_MS)) {
    const status = await agent.execute("guest-exec-status", { pid }, { timeoutMs, signal });
    if (status.exited) return status;
    await sleep(pauseMs, undefined, { signal });
  }
}

/** Best effort, and collects both processes: the agent keeps the output of whatever nobody asks for. */
async function killInGuest(agent: GuestAgent, pid: number): Promise<void> {
  try {
    await withDeadline({ what: `kill of guest process ${pid}`, timeoutMs: EXEC_KILL_TIMEOUT_MS }, async (signal) => {
      const kill = await agent.execute("guest-exec", { path: "kill", arg: ["-KILL", `${pid}`] }, { signal });
      await pollUntilExit(agent, kill.pid, EXEC_KILL_TIMEOUT_MS, signal);
      await pollUntilExit(agent, pid, EXEC_KILL_TIMEOUT_MS, signal);
    });
  } catch {
    // The caller is told why the program was given up on; a guest that no longer answers is that same reason.
  }
}

function neverStarted(path: string, cause: VmSubstrateError): VmSubstrateError {
  return new VmSubstrateError(
    "GUEST_AGENT_TIMEOUT",
    `${cause.message}; the agent did not confirm that ${path} started`,
    {
      cause,
      details: cause.details,
    },
  );
}

function toResult(status: GuestExecStatus, maxOutputBytes: number): GuestExecResult {
  const stdout = Buffer.from(status["out-data"] ?? "", "base64");
  const stderr = Buffer.from(status["err-data"] ?? "", "base64");
  const cut = stdout.length > maxOutputBytes || stderr.length > maxOutputBytes;
  return {
    exitCode: status.exitcode ?? null,
    signal: status.signal ?? null,
    stdout: stdout.subarray(0, maxOutputBytes),
    stderr: stderr.subarray(0, maxOutputBytes),
    truncated: cut || status["out-truncated"] === true || status["err-truncated"] === true,
  };
}

function execRequest(argv: readonly string[], options: GuestExecOptions): GuestExecArguments {
  const [path, ...arg] = argv;
  if (path === undefined || path === "") throw invalid("the argument list must start with a program");
  // C strings end at NUL: the guest would run something else than what was checked here.
  if (argv.some((argument) => argument.includes("\0"))) throw invalid("an argument contains NUL");
  const request = { path, arg, "capture-output": true };
  const input = options.stdin === undefined ? {} : { "input-data": encodeStdin(options.stdin) };
  const environment = options.env === undefined ? {} : { env: environmentList(options.env) };
  return { ...request, ...input, ...environment };
}

function encodeStdin(stdin: string | Uint8Array): string {
  const bytes = typeof stdin === "string" ? Buffer.from(stdin) : stdin;
  if (bytes.length > MAX_EXEC_STDIN_BYTES) {
    throw invalid(`stdin may have ${MAX_EXEC_STDIN_BYTES} bytes, got ${bytes.length}; write it to a file instead`);
  }
  return Buffer.from(bytes).toString("base64");
}

/** The agent hands the list to execve as the whole environment, and looks the program up in that list's PATH. */
function environmentList(env: Readonly<Record<string, string>>): string[] {
  const entries = Object.entries(env);
  for (const [name, value] of entries) {
    // NAME=value is split at the first "=": a name that has one would set another variable.
    if (name === "" || name.includes("=") || name.includes("\0")) {
      throw invalid("the name of an environment variable is empty or contains = or NUL");
    }
    if (value.includes("\0")) throw invalid(`environment variable ${name} contains NUL`);
  }
  const path = Object.hasOwn(env, "PATH") ? [] : [`PATH=${DEFAULT_GUEST_PATH}`];
  return [...path, ...entries.map(([name, value]) => `${name}=${value}`)];
}

function invalid(problem: string): VmSubstrateError {
  return new VmSubstrateError("INVALID_ARGUMENT", `guest exec: ${problem}`);
}
