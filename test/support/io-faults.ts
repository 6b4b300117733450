import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { State } from "./io-faults-script.ts";

const SHIM = fileURLToPath(new URL("./io-faults.c", import.meta.url));
const SCRIPT = fileURLToPath(new URL("./io-faults-child.ts", import.meta.url));

export const FAULT_KINDS = ["eio", "enospc", "kill", "power", "torn"] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** What a child told of one script with one fault. */
export interface ScriptReport {
  /** At which call the fault was. */
  readonly at: number;
  /** False when the script came to its end without it; undefined when it ended the process. */
  readonly hadFault: boolean | undefined;
  /** How many of the script's operations were acknowledged. */
  readonly acknowledged: number;
  /** The code of the store that could not be opened. */
  readonly refused: unknown;
  readonly failed: unknown;
  readonly later: unknown;
  readonly read: State | undefined;
  /** Whether the fault had been when the store was open, and when it was about to be closed. */
  readonly opened: unknown;
  readonly closing: unknown;
  readonly closed: unknown;
}

/** The shim, compiled into a directory, which serves for caches of the children, too. */
export class IoFaults {
  readonly #dir: string;
  /** For LD_PRELOAD. */
  readonly library: string;

  private constructor(dir: string) {
    this.#dir = dir;
    this.library = join(dir, "io-faults.so");
  }

  static async compile(dir: string): Promise<IoFaults> {
    const faults = new IoFaults(dir);
    const flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-nostdlib"];
    await promisify(execFile)("gcc", [...flags, "-o", faults.library, SHIM]);
    return faults;
  }

  /**
   * Runs the script on new stores, in `<base>/<at>/store.db`, with a fault at every `stride`-th call from the one `first`
   * on, until the process is killed or a script comes to its end without a fault.
   */
  async run(kind: FaultKind, base: string, first: number, stride: number): Promise<ScriptReport[]> {
    const argv = ["--disable-warning=ExperimentalWarning", SCRIPT, base, String(first), String(stride)];
    const env = {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: join(this.#dir, "cache"), // a third of the time
      LD_PRELOAD: this.library,
      IO_FAULTS_KIND: kind,
    };
    const child = spawn(process.execPath, argv, { env, stdio: ["ignore", "pipe", "pipe"] });
    const exited = once(child, "exit");
    const [said, complaint] = await Promise.all([text(child.stdout), text(child.stderr)]);
    const [code, signal] = (await exited) as [number | null, NodeJS.Signals | null];
    const isKilled = kind === "kill" && signal === "SIGKILL";
    if (complaint !== "" || !(code === 0 || isKilled)) throw new Error(`child: ${code} ${signal} ${complaint}`);
    const reports = reportsOf(said);
    return isKilled && !reports.has(first) ? [reportOf(first, [])] : [...reports.values()];
  }
}

type Line = [at: string, word: string, what: unknown];

function reportsOf(said: string): Map<number, ScriptReport> {
  const lines = said.split("\n").slice(0, -1);
  const parsed = lines.map((line) => JSON.parse(line) as Line);
  const byScript = Map.groupBy(parsed, ([at]) => Number(at));
  return new Map([...byScript].map(([at, own]) => [at, reportOf(at, own)]));
}

function reportOf(at: number, lines: readonly Line[]): ScriptReport {
  const last = new Map(lines.map(([, word, what]) => [word, what]));
  return {
    at,
    hadFault: last.get("ended") as boolean | undefined,
    acknowledged: Number(last.get("acknowledged") ?? 0),
    refused: last.get("refused"),
    failed: last.get("failed"),
    later: last.get("later"),
    read: last.get("read") as State | undefined,
    opened: last.get("opened"),
    closing: last.get("closing"),
    closed: last.get("closed"),
  };
}
