import { spawn } from "node:child_process";
import { type ErrorCode, VmSubstrateError, withDeadline } from "../core/index.ts";

const OUTPUT_CAP_BYTES = 8 * 1024 * 1024;
const STDERR_TAIL_CHARS = 2000;
/** Debian keeps mke2fs and debugfs where an ordinary user's PATH does not look. */
export const SBIN_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

export interface ToolOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly stdin?: string | Uint8Array;
  readonly cwd?: string;
  /** Beside this process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** How it is ended. Default SIGKILL; another leaves it the time to end its own children. */
  readonly killSignal?: NodeJS.Signals;
  /** The code of the error when the tool fails; a missing tool is always RECIPE_TOOL_MISSING. */
  readonly failureCode?: ErrorCode;
}

/**
 * Runs a short-lived helper program (never through a shell) and returns its stdout. The program ends with the deadline
 * or the signal.
 *
 * @throws VmSubstrateError RECIPE_TOOL_MISSING, `failureCode` with the tail of stderr, TIMEOUT, ABORTED
 */
export async function runTool(argv: readonly [string, ...string[]], options: ToolOptions): Promise<Buffer> {
  const [program, ...args] = argv;
  return withDeadline({ what: program, timeoutMs: options.timeoutMs, signal: options.signal }, async (signal) => {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const env = {
      ...process.env,
      PATH: [process.env.PATH ?? "/usr/bin:/bin", ...SBIN_DIRECTORIES].join(":"),
      LC_ALL: "C",
      ...options.env,
    };
    const child = spawn(program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env,
      signal,
      killSignal: options.killSignal ?? "SIGKILL",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const out: Buffer[] = [];
    let outBytes = 0;
    let errorTail = "";
    child.stdout.on("data", (chunk: Buffer) => {
      outBytes += chunk.length;
      if (outBytes <= OUTPUT_CAP_BYTES) out.push(chunk);
      else child.kill("SIGKILL");
    });
    child.stderr.on("data", (chunk: Buffer) => {
      errorTail = (errorTail + chunk.toString("latin1")).slice(-STDERR_TAIL_CHARS);
    });
    child.stdin.on("error", () => {}); // the program may end without reading all of it
    child.on("error", (cause: NodeJS.ErrnoException) => {
      if (cause.code !== "ENOENT") return reject(cause);
      const message = `${program} is not installed; scripts/bootstrap installs what is needed`;
      reject(new VmSubstrateError("RECIPE_TOOL_MISSING", message, { cause, details: { program } }));
    });
    child.on("close", (code, killedBy) => {
      if (code === 0) return resolve(Buffer.concat(out));
      const message = `${program} ended with ${killedBy ?? `status ${code}`}: ${errorTail.trim() || "(no output)"}`;
      reject(
        new VmSubstrateError(options.failureCode ?? "RECIPE_FAILED", message, { details: { program, args, code } }),
      );
    });
    child.stdin.end(options.stdin);
    return promise;
  });
}
