import { pino } from "pino";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

export interface LogOptions {
  readonly level: (typeof LOG_LEVELS)[number];
  /** Where it is written. Default: standard error. */
  readonly file?: string | undefined;
}

/** What would let a reader of the log act as somebody else, or read what is theirs. */
const SECRETS = [
  "token",
  "authorization",
  "env",
  "files",
  "content",
  "stdin",
  "*.token",
  "*.env",
  "req.headers",
  "spec.env",
];

/** One JSON object a line, without secrets. */
export function daemonLogger({ level, file }: LogOptions): pino.Logger {
  const destination = pino.destination({
    dest: file ?? 2,
    sync: true,
    append: true,
    ...(file === undefined ? {} : { mode: 0o600 }),
  });
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: SECRETS, censor: "[redacted]" },
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}
