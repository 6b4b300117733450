import { z } from "zod";
import { MIB, signalSchema } from "../core/index.ts";

export interface ExecOptions {
  readonly stdin?: string | Uint8Array | undefined;
  /** Replaces the agent's environment; PATH is added where it is missing. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds until the program is killed. Default 60 000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FileOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole file. Default 60 000. */
  readonly timeoutMs?: number | undefined;
}

export interface ReadFileOptions extends FileOptions {
  /** A longer file is an error. Default 1 MiB. */
  readonly maxBytes?: number | undefined;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_TIMEOUT_MS = 86_400_000;
const MAX_READ_BYTES = 1024 * MIB;

const timeoutMs = z.int().min(1).max(MAX_TIMEOUT_MS).default(DEFAULT_TIMEOUT_MS);
const common = { signal: signalSchema.optional(), timeoutMs };

/** NUL would end it early in the guest; half a surrogate pair is no text at all. */
const argument = z.string().refine((text) => text.isWellFormed() && !text.includes("\0"), "expected text without NUL");

export const argvSchema = z
  .array(argument)
  .min(1)
  .refine(([program]) => program !== "", "expected a program");
export const pathSchema = z.string().min(1);
export const contentSchema = z.union([z.string(), z.instanceof(Uint8Array)]);

export const execOptionsSchema = z.strictObject({
  ...common,
  stdin: contentSchema.optional(),
  env: z.record(z.string(), z.string()).optional(),
});
export const fileOptionsSchema = z.strictObject(common);
export const readFileOptionsSchema = z.strictObject({
  ...common,
  maxBytes: z.int().min(0).max(MAX_READ_BYTES).optional(),
});
/** A timer of Node's cannot wait longer: 2^31 - 1 ms, 24.8 days. */
const MAX_LIFETIME_MS = 2_147_483_647;

export interface ShrinkRequest {
  /** So much stays at least: memory is taken away by whole modules. */
  readonly memoryMiB: number;
  /** Milliseconds for all of it. Default 60 000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const shrinkSchema = z.strictObject({ ...common, memoryMiB: z.int().min(1) });

export const lifetimeSchema = z.int().min(1).max(MAX_LIFETIME_MS);

export interface ExecResult {
  /** Null when a signal ended the program. */
  readonly exitCode: number | null;
  readonly signal: number | null;
  /** Decoded as UTF-8; `stdoutBytes` has it as it came. */
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Uint8Array;
  readonly stderrBytes: Uint8Array;
  readonly truncated: boolean;
}
