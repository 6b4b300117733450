import { spawn } from "node:child_process";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import type { Io } from "../../cli/io.ts";
import { runCli } from "../../cli/program.ts";
import type { FakeHost } from "./fake-host.ts";

const CLI_MAIN = join(import.meta.dirname, "../../cli/main.ts");
const NODE_OPTIONS = ["--disable-warning=ExperimentalWarning"];

/** What is written to it is kept. */
export class FakeScreen extends Writable {
  readonly chunks: Buffer[] = [];
  readonly isTTY: boolean;
  columns = 120;
  rows = 40;
  /** As a pipe whose reader has gone. */
  isClosed = false;
  readonly #waiting = new Set<{ readonly text: string; readonly seen: () => void }>();

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  /** Resolves when a text was written. */
  shows(text: string): Promise<void> {
    return new Promise((seen) => {
      if (this.text.includes(text)) seen();
      else this.#waiting.add({ text, seen });
    });
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    if (this.isClosed) {
      done(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
      return;
    }
    this.chunks.push(chunk);
    for (const one of this.#waiting) if (this.text.includes(one.text)) one.seen();
    done();
  }
}

/** A terminal's keyboard, or a pipe. */
class FakeInput extends PassThrough {
  readonly isTTY: boolean;
  /** Each change, in order. */
  readonly rawModes: boolean[] = [];

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  setRawMode(isRaw: boolean): void {
    this.rawModes.push(isRaw);
  }
}

export interface CliOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Standard input and output are terminals. Default false, and the input is at its end. */
  readonly tty?: boolean;
  readonly stdin?: string | Uint8Array;
}

/** One run of the program in this process. */
export interface CliRun {
  readonly stdin: FakeInput;
  readonly stdout: FakeScreen;
  readonly stderr: FakeScreen;
  readonly exitCode: Promise<number>;
  /** The codes with which it has ended the process at once. */
  readonly exits: number[];
  interrupt(signal?: NodeJS.Signals): void;
  resize(columns: number, rows: number): void;
}

export function cliEnv(host: FakeHost): NodeJS.ProcessEnv {
  const { stateDir, cacheDir, runtimeDir, sharedMemoryDir } = host.directories;
  return {
    PATH: process.env.PATH,
    HOME: join(stateDir, ".."),
    VM_SUBSTRATE_STATE_DIR: stateDir,
    VM_SUBSTRATE_CACHE_DIR: cacheDir,
    VM_SUBSTRATE_RUNTIME_DIR: runtimeDir,
    VM_SUBSTRATE_SHARED_MEMORY_DIR: sharedMemoryDir,
  };
}

export function startCli(argv: readonly string[], { env = {}, tty = false, stdin }: CliOptions = {}): CliRun {
  const input = new FakeInput(tty);
  if (stdin !== undefined || !tty) input.end(stdin);
  const [stdout, stderr] = [new FakeScreen(tty), new FakeScreen(tty)];
  const exits: number[] = [];
  let onInterrupt: (signal: NodeJS.Signals) => void = () => {};
  let onResize = () => {};
  const io: Io = {
    stdin: input,
    stdout,
    stderr,
    env,
    self: [process.execPath, ...NODE_OPTIONS, CLI_MAIN],
    onInterrupt(listener) {
      onInterrupt = listener;
      return () => {};
    },
    onResize(listener) {
      onResize = listener;
      return () => {};
    },
    exit: (code) => void exits.push(code),
  };
  const exitCode = runCli(argv, io);
  const resize = (columns: number, rows: number) => {
    Object.assign(stdout, { columns, rows });
    onResize();
  };
  return {
    stdin: input,
    stdout,
    stderr,
    exitCode,
    exits,
    interrupt: (signal = "SIGINT") => onInterrupt(signal),
    resize,
  };
}

export interface CliResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function cli(argv: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const run = startCli(argv, options);
  const exitCode = await run.exitCode;
  return { exitCode, stdout: run.stdout.text, stderr: run.stderr.text };
}

/** A run as a process of its own. */
export function spawnCli(argv: readonly string[], env: NodeJS.ProcessEnv) {
  return spawn(process.execPath, [...NODE_OPTIONS, CLI_MAIN, ...argv], { env, stdio: ["pipe", "pipe", "pipe"] });
}

export async function cliProcess(
  argv: readonly string[],
  { env = {}, stdin = "" }: Omit<CliOptions, "tty"> = {},
): Promise<CliResult> {
  const child = spawnCli(argv, env);
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) child[name].on("data", (bytes: Buffer) => (output[name] += bytes));
  child.stdin.on("error", () => {});
  child.stdin.end(stdin);
  const exitCode = await new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? -1)));
  return { exitCode, ...output };
}
