import { pino } from "pino";
import { messageOf } from "../lib/core/index.ts";
import { VmSubstrateError } from "../lib/index.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

export interface LogOptions {
  readonly level: (typeof LOG_LEVELS)[number];
  /** Where it is written. Default: standard error. */
  readonly file?: string | undefined;
}

/** What would let a reader of the log act as somebody else, or read what is theirs. */
const NAMES = ["token", "authorization", "cookie", "env", "files", "content", "stdin", "stdinBase64", "authorizedKeys"];
const SECRETS = [...NAMES, ...NAMES.map((name) => `*.${name}`), ...NAMES.map((name) => `*.*.${name}`), "req.headers"];

/** One JSON object a line, without secrets. @throws VmSubstrateError HOST_IO_FAILED */
export function daemonLogger({ level, file }: LogOptions, owner: AsyncDisposableStack): pino.Logger {
  const destination = destinationOf(file);
  // A full disk loses lines; it does not end the owner of VMs.
  destination.on("error", () => {});
  if (file !== undefined) owner.defer(() => destination.end());
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

function destinationOf(file: string | undefined) {
  const common = { sync: true, append: true } as const;
  if (file === undefined) return pino.destination({ ...common, dest: 2 });
  try {
    return pino.destination({ ...common, dest: file, mode: 0o600 });
  } catch (cause) {
    throw new VmSubstrateError("HOST_IO_FAILED", `${file} cannot be written: ${messageOf(cause)}`, { cause });
  }
}
