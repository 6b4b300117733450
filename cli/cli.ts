import { resolve } from "node:path";
import { connect, type RemotePool } from "../client/index.ts";
import { isVmSubstrateError, VmSubstrateError } from "../lib/index.ts";
import { startDaemon } from "./daemon-process.ts";
import { type ExitCode, exitCodeOf } from "./exit-codes.ts";
import type { Io } from "./io.ts";
import { Out } from "./output/out.ts";
import { type GlobalOptions, type Settings, settingsOf } from "./settings.ts";

/** How many VMs a command works on at a time. */
const PARALLEL = 16;
const INTERRUPTED = 130 satisfies ExitCode;

/** One run of the program: what its commands work with. */
export class Cli implements AsyncDisposable {
  readonly io: Io;
  /** The exit status, unless an error decides it. */
  exitCode = 0;
  /** What Ctrl-C says; a command for which that is the usual end says nothing. */
  interruptNote: string | undefined = "stopping, and undoing what was begun; once more to leave at once";
  /** What the first Ctrl-C does instead of stopping the command. */
  onInterrupt: ((signal: NodeJS.Signals) => void) | undefined;
  readonly #options: () => GlobalOptions;
  readonly #stopping = new AbortController();
  #out: Out | undefined;
  #settings: Promise<Settings> | undefined;
  #pool: RemotePool | undefined;
  #interrupts = 0;
  #isUnread = false;

  constructor(io: Io, options: () => GlobalOptions) {
    this.io = io;
    this.#options = options;
  }

  /** Fires with the first Ctrl-C, and when nobody reads standard output any more. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  get options(): GlobalOptions {
    return this.#options();
  }

  get out(): Out {
    const { format, quiet = false, verbose = false, color } = this.options;
    this.#out ??= new Out(this.io, { format, quiet, verbose, color });
    return this.#out;
  }

  settings(): Promise<Settings> {
    this.#settings ??= settingsOf(this.options, this.io.env);
    return this.#settings;
  }

  /** A second time nobody wants to wait any more. */
  interrupt(signal: NodeJS.Signals): void {
    this.#interrupts++;
    if (this.#interrupts > 1) {
      this.io.exit(INTERRUPTED);
    } else if (this.onInterrupt !== undefined) {
      this.onInterrupt(signal);
    } else {
      if (this.interruptNote !== undefined) this.out.say(this.interruptNote);
      this.stop("interrupted; what the command had begun was undone");
    }
  }

  /** Of a pipe whose reader has gone there is nothing to say. */
  outputFailed(error: Error): void {
    this.#isUnread ||= "code" in error && error.code === "EPIPE";
    this.stop(`standard output cannot be written: ${error.message}`);
  }

  /** The exit status. */
  get status(): number {
    return this.#isUnread ? 0 : this.exitCode;
  }

  stop(why: string): void {
    this.#stopping.abort(new VmSubstrateError("ABORTED", why));
  }

  /** The daemon's pool. Starts a daemon where there is none, unless it is one at an address. */
  async pool({ start = this.options.start }: { readonly start?: boolean } = {}): Promise<RemotePool> {
    this.#pool ??= await this.#connect(start);
    return this.#pool;
  }

  /** After the daemon was lost. */
  async reconnect(): Promise<RemotePool> {
    await this.#pool?.close();
    this.#pool = undefined;
    return this.pool();
  }

  /**
   * Does something with each name; what fails is said, and decides the exit status, and the others are done.
   * @returns what came of those that did not fail, in order
   */
  async each<Result>(names: readonly string[], work: (name: string) => Promise<Result>): Promise<Result[]> {
    const results: { readonly value: Result }[] = [];
    for (let i = 0; i < names.length; i += PARALLEL) {
      const some = await Promise.allSettled(names.slice(i, i + PARALLEL).map(work));
      for (const one of some) {
        if (one.status === "fulfilled") results.push({ value: one.value });
        else this.failed(one.reason);
      }
    }
    return results.map(({ value }) => value);
  }

  /** Says an error; the first one decides the exit status. */
  failed(error: unknown): void {
    if (this.#isUnread) return;
    // What a call that was given up meets on its way out says less than that it was.
    const isStopped = this.signal.aborted && isVmSubstrateError(error, "ABORTED");
    if (isStopped && this.interruptNote !== undefined) this.out.error(this.signal.reason);
    else if (!isStopped) this.out.error(error);
    if (this.exitCode === 0) this.exitCode = exitCodeOf(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#out?.progress.clear();
    await this.#pool?.close();
  }

  async #connect(start: boolean): Promise<RemotePool> {
    const { url, token, directories, given, configFile } = await this.settings();
    const { signal } = this;
    if (url !== undefined) return connect({ url, ...(token === undefined ? {} : { token }), signal });
    try {
      return await connect({ ...directories, signal });
    } catch (error) {
      if (!start || !isVmSubstrateError(error, "DAEMON_UNREACHABLE")) throw error;
    }
    this.out.progress.show("starting the daemon");
    const args = daemonArguments({ given, configFile });
    const pool = await startDaemon({ self: this.io.self, env: this.io.env, arguments: args, directories, signal });
    this.out.progress.clear();
    return pool;
  }
}

/** What a daemon in the background is told, so that it is this command's whatever its own environment says. */
export function daemonArguments({ given, configFile }: Pick<Settings, "given" | "configFile">): string[] {
  const { stateDir, cacheDir, runtimeDir, sharedMemoryDir } = given;
  const options = {
    "--config": configFile,
    "--state-dir": stateDir,
    "--cache-dir": cacheDir,
    "--runtime-dir": runtimeDir,
    "--shared-memory-dir": sharedMemoryDir,
  };
  return Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : [name, resolve(value)]));
}
