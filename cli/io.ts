import type { Readable, Writable } from "node:stream";

type Input = Readable & { readonly isTTY?: boolean; setRawMode?(isRaw: boolean): unknown };
export type Screen = Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };

/** What a run of the program has of its process. Tests give their own. */
export interface Io {
  readonly stdin: Input;
  readonly stdout: Screen;
  readonly stderr: Screen;
  readonly env: NodeJS.ProcessEnv;
  /** How this program is started again: Node, its options, and the file. */
  readonly self: readonly string[];
  /** Calls `listener` at each Ctrl-C and each request to end. @returns the end of that */
  onInterrupt(listener: (signal: NodeJS.Signals) => void): () => void;
  /** Calls `listener` when the terminal has another size. @returns the end of that */
  onResize(listener: () => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
}

const INTERRUPTS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** That of this process. */
export function processIo(main: string): Io {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    self: [process.execPath, ...process.execArgv, main],
    onInterrupt(listener) {
      for (const name of INTERRUPTS) process.on(name, listener);
      return () => {
        for (const name of INTERRUPTS) process.off(name, listener);
      };
    },
    onResize(listener) {
      process.on("SIGWINCH", listener);
      return () => process.off("SIGWINCH", listener);
    },
    exit: (code) => process.exit(code),
  };
}
