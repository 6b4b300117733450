import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { OwnerTask } from "./pool-owner.ts";

const PROGRAM = fileURLToPath(new URL("./pool-owner.ts", import.meta.url));

/** A process of its own that owns a pool, so that it can be killed. */
export class PoolOwner implements AsyncDisposable {
  readonly process: ChildProcess;
  /** The lines that it printed. */
  readonly said: string[] = [];
  readonly #ended: Promise<unknown>;
  readonly #read: Promise<unknown>;
  #onLine: (() => void) | undefined;

  private constructor(child: ChildProcess) {
    this.process = child;
    this.#ended = once(child, "exit");
    if (child.stdout === null) throw new Error("no pipe");
    const lines = createInterface(child.stdout).on("line", (line) => {
      this.said.push(line);
      this.#onLine?.();
    });
    this.#read = once(lines, "close");
  }

  /** @param under a program that it is started by, with its arguments, and variables of its environment */
  static begin(task: OwnerTask, under: { argv?: readonly string[]; env?: NodeJS.ProcessEnv } = {}): PoolOwner {
    const own = [process.execPath, "--disable-warning=ExperimentalWarning", PROGRAM, JSON.stringify(task)];
    const [program = "", ...argv] = [...(under.argv ?? []), ...own];
    const env = { ...process.env, ...under.env };
    return new PoolOwner(spawn(program, argv, { stdio: ["ignore", "pipe", "inherit"], env }));
  }

  /** Begins, and waits for the last line that an undisturbed owner says: "ready" or an error's code. */
  static async start(task: OwnerTask): Promise<PoolOwner> {
    const owner = PoolOwner.begin(task);
    await owner.hasSaid(1);
    return owner;
  }

  /** Resolves when it has said so many lines, or has ended. */
  async hasSaid(lines: number): Promise<void> {
    while (this.said.length < lines && this.process.exitCode === null) {
      await Promise.race([new Promise<void>((resolve) => (this.#onLine = resolve)), this.#ended]);
    }
  }

  /** Resolves when it has ended by itself, and everything that it said was read. */
  async ended(): Promise<void> {
    await Promise.all([this.#ended, this.#read]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill("SIGKILL");
    await this.ended();
  }
}
