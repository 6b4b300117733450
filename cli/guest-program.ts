import { buffer } from "node:stream/consumers";
import type { RemoteVm } from "../client/index.ts";
import { isVmSubstrateError, VmSubstrateError } from "../lib/index.ts";
import type { Cli } from "./cli.ts";

export interface GuestProgram {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Give it what comes on standard input. */
  readonly input: boolean;
  readonly timeoutMs?: number | undefined;
}

/** A shell's way to tell of a program that a signal has ended. */
const SIGNAL_BASE = 128;

/** Runs a program in a guest as if it ran here. @returns its exit status */
export async function runInGuest(cli: Cli, vm: RemoteVm, { argv, env, input, timeoutMs }: GuestProgram): Promise<number> {
  const stdin = input ? await inputOf(cli) : undefined;
  const result = await vm.exec(argv, { stdin, env, timeoutMs, signal: cli.signal });
  await cli.out.text(result.stdoutBytes);
  cli.io.stderr.write(result.stderrBytes);
  if (result.truncated) cli.out.say("the output was too long; its end is missing");
  return result.exitCode ?? SIGNAL_BASE + (result.signal ?? 0);
}

async function inputOf({ io, signal }: Cli): Promise<Uint8Array> {
  const { promise: stopped, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(new VmSubstrateError("ABORTED", "interrupted while input was read"));
  signal.addEventListener("abort", onAbort, { once: true });
  return Promise.race([buffer(io.stdin), stopped]);
}

/** What `exec` ends with when there was no program, as docker's does. */
export function execExitCode(error: unknown): number {
  if (isVmSubstrateError(error, "ABORTED")) return 130;
  return isVmSubstrateError(error, "GUEST_EXEC_TIMEOUT") ? 124 : 125;
}
