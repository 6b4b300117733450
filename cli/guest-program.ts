import type { Readable, Writable } from "node:stream";
import type { RemoteVm } from "../client/index.ts";
import { isVmSubstrateError, type TerminalSize, VmSubstrateError } from "../lib/index.ts";
import type { Cli } from "./cli.ts";
import type { Screen } from "./io.ts";

export interface GuestProgram {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  /** Give it what comes on standard input. */
  readonly input: boolean;
  /** In a terminal of its own, which this one shows. */
  readonly tty: boolean;
  /** Milliseconds until it is killed. Default: never. */
  readonly timeoutMs?: number | undefined;
}

/** A shell's way to tell of a program that a signal has ended. */
const SIGNAL_BASE = 128;
const USUAL_SIZE: TerminalSize = { columns: 80, rows: 24 };

/** Runs a program in a guest as if it ran here. @returns its exit status */
export async function runInGuest(cli: Cli, vm: RemoteVm, program: GuestProgram): Promise<number> {
  const { io, signal } = cli;
  const { argv, env, cwd, tty } = program;
  if (tty && io.stdin.isTTY !== true) {
    throw new VmSubstrateError("INVALID_ARGUMENT", "standard input is no terminal; leave --tty away");
  }
  const terminal = tty ? { ...sizeOf(io.stdout), ...(io.env.TERM ? { term: io.env.TERM } : {}) } : undefined;
  await using session = await vm.session(argv, { tty: terminal, env, cwd, signal });
  using undo = new DisposableStack();
  // With a terminal, Ctrl-C is one of the characters that the program's own terminal gets.
  cli.onInterrupt = tty ? undefined : (name) => session.kill(name);
  undo.defer(() => (cli.onInterrupt = undefined));
  if (tty) {
    io.stdin.setRawMode?.(true);
    undo.defer(() => io.stdin.setRawMode?.(false));
    undo.defer(io.onResize(() => session.resize(sizeOf(io.stdout))));
  }
  let isLate = false;
  if (program.timeoutMs !== undefined) {
    const timer = setTimeout(() => {
      isLate = true;
      session.kill("SIGKILL");
    }, program.timeoutMs);
    undo.defer(() => clearTimeout(timer));
  }
  undo.defer(feed(program.input ? io.stdin : undefined, session.stdin));
  const [exit] = await Promise.all([session.exited, show(session.stdout, io.stdout), show(session.stderr, io.stderr)]);
  if (isLate) {
    throw new VmSubstrateError("GUEST_EXEC_TIMEOUT", `${argv[0]} was killed after the time that was given`);
  }
  return exit.exitCode ?? SIGNAL_BASE + (exit.signal ?? 0);
}

/** What `exec` ends with when there was no program, as docker's does. */
export function execExitCode(error: unknown): number {
  if (isVmSubstrateError(error, "ABORTED")) return 130;
  return isVmSubstrateError(error, "GUEST_EXEC_TIMEOUT") ? 124 : 125;
}

/** @returns the end of it */
function feed(from: Readable | undefined, to: Writable): () => void {
  to.on("error", () => {}); // the program ended, or closed its input: what it does not want is nobody's
  if (from === undefined) {
    to.end();
    return () => {};
  }
  from.pipe(to);
  return () => {
    from.unpipe(to);
    from.pause();
  };
}

/** As fast as it is read here. */
async function show(from: Readable, to: Writable): Promise<void> {
  for await (const bytes of from) await new Promise<void>((resolve) => to.write(bytes, () => resolve()));
}

function sizeOf({ columns, rows }: Screen): TerminalSize {
  return columns && rows ? { columns, rows } : USUAL_SIZE;
}
