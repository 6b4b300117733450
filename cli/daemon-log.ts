import { constants } from "node:fs";
import { open, readFile, rename, stat } from "node:fs/promises";
import { PROBLEM_URN } from "../api/index.ts";
import { hostFailure } from "../lib/core/index.ts";
import { ERROR_CODES, type ErrorCode, VmSubstrateError } from "../lib/index.ts";

/** A log that has grown beyond this is put aside when the next daemon is started; the one before is lost. */
const MAX_LOG_BYTES = 16 * 1024 ** 2;
const SHOWN_LINES = 15;
const MAX_READ_BYTES = 64 * 1024;

/** Opens the log of a daemon that is to be started. @throws VmSubstrateError HOST_IO_FAILED */
export async function openDaemonLog(file: string) {
  try {
    const size = await stat(file).then(
      (found) => found.size,
      () => 0,
    );
    if (size > MAX_LOG_BYTES) await rename(file, `${file}.1`);
    const { O_APPEND, O_CREAT, O_WRONLY, O_NOFOLLOW } = constants;
    const log = await open(file, O_APPEND | O_CREAT | O_WRONLY | O_NOFOLLOW, 0o600);
    return { log, end: (await log.stat()).size };
  } catch (error) {
    throw hostFailure(error) ?? error;
  }
}

/** What was written to a log from `begin` on, or the end of that. */
export async function readLog(file: string, begin = 0): Promise<string> {
  const bytes = await readFile(file).catch(() => Buffer.alloc(0));
  return bytes.subarray(Math.max(begin, bytes.length - MAX_READ_BYTES)).toString();
}

/** The last lines of a text, indented. */
export function lastLines(text: string, count = SHOWN_LINES): string {
  const lines = text.trimEnd().split("\n").slice(-count);
  return lines.map((line) => `  ${line}`).join("\n");
}

/** The error that a daemon has ended with, as it is in its log. */
export function loggedError(text: string): VmSubstrateError | undefined {
  return text
    .split("\n")
    .map(problemIn)
    .findLast((error) => error !== undefined);
}

function problemIn(line: string): VmSubstrateError | undefined {
  if (!line.startsWith(`{"type":"${PROBLEM_URN}`)) return undefined;
  const { code, detail, details } = JSON.parse(line) as {
    code: string;
    detail: string;
    details: Record<string, unknown>;
  };
  return Object.hasOwn(ERROR_CODES, code) ? new VmSubstrateError(code as ErrorCode, detail, { details }) : undefined;
}
