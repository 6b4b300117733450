import { z } from "zod";
import { signalSchema, validate } from "../../core/index.ts";
import { DEFAULT_GUEST_PATH } from "../../qmp/index.ts";
import { argvSchema } from "../vm-options.ts";
import { encodeStart, MAX_PAYLOAD_BYTES } from "./frames.ts";

/** Of a terminal, in characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

export interface SessionOptions {
  /** `{ columns, rows, term }`: the program gets a terminal of that size. `term` is its TERM. Default none. */
  readonly tty?: (TerminalSize & { readonly term?: string | undefined }) | undefined;
  /** Added to the VM's; the program has no other, but for PATH, and for HOME, PWD and TERM with a terminal. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** The folder it starts in. Default HOME with a terminal, else `/`. */
  readonly cwd?: string | undefined;
  /** Milliseconds until the program runs. Default 30 000. */
  readonly timeoutMs?: number | undefined;
  /** Ends the session, started or not. */
  readonly signal?: AbortSignal | undefined;
}

/** What is asked for, validated. */
export interface SessionRequest {
  /** As it goes to the guest. */
  readonly start: Buffer;
  readonly program: string;
  readonly folder: string;
  readonly hasTerminal: boolean;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_TIMEOUT_MS = 3_600_000;
const MAX_TERMINAL_SIZE = 10_000;
const DEFAULT_TERM = "xterm-256color";
const DEFAULT_HOME = "/root";

const side = z.int().min(1).max(MAX_TERMINAL_SIZE);
const size = { columns: side, rows: side };
export const sizeSchema = z.strictObject(size);

/** NUL would end it early in the guest. */
const text = z.string().refine((given) => given.isWellFormed() && !given.includes("\0"), "expected text without NUL");
/** NAME=value is split at the first "=": a name that has one would set another variable. */
const name = text.refine((given) => given !== "" && !given.includes("="), "expected a name without =");

const optionsSchema = z.strictObject({
  tty: z.strictObject({ ...size, term: text.min(1).optional() }).optional(),
  env: z.record(name, text).optional(),
  cwd: text.startsWith("/").optional(),
  timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).default(DEFAULT_TIMEOUT_MS),
  signal: signalSchema.optional(),
});
const programSchema = argvSchema.max(MAX_PAYLOAD_BYTES / 16);

/** @param own the VM's environment, which the call adds to @throws VmSubstrateError INVALID_ARGUMENT */
export function sessionRequest(
  argv: readonly string[],
  options: SessionOptions,
  own: Readonly<Record<string, string>>,
): SessionRequest {
  const [program = "", ...args] = validate(programSchema, argv, "session: argv");
  const { tty, env: given, cwd, timeoutMs, signal } = validate(optionsSchema, options, "session");
  const asked: Readonly<Record<string, string>> = { PATH: DEFAULT_GUEST_PATH, ...own, ...given };
  const home = asked.HOME ?? DEFAULT_HOME;
  const folder = cwd ?? (tty === undefined ? "/" : home);
  const ofTerminal = { HOME: home, PWD: folder, TERM: tty?.term ?? DEFAULT_TERM };
  const env = tty === undefined ? asked : { ...ofTerminal, ...asked };
  const start = encodeStart({ tty, folder, argv: [program, ...args], env });
  return { start, program, folder, hasTerminal: tty !== undefined, timeoutMs, signal };
}
