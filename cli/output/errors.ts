import { PROBLEM_URN } from "../../api/index.ts";
import { messageOf } from "../../lib/core/index.ts";
import { ERROR_CODES, type ErrorCode, isVmSubstrateError } from "../../lib/index.ts";
import { printable, printableLines } from "./printable.ts";
import type { Format } from "./records.ts";

export interface ErrorStyle {
  readonly format: Format;
  readonly verbose: boolean;
  /** Stack traces. */
  readonly debug: boolean;
}

/** An error as it is said on standard error. */
export function errorText(error: unknown, { format, verbose, debug }: ErrorStyle): string {
  const { code, message, details } = known(error);
  const stack = debug && error instanceof Error ? `${error.stack ?? ""}\n` : "";
  if (format === "json") {
    const problem = { type: `${PROBLEM_URN}${code}`, title: ERROR_CODES[code], detail: message, code, details };
    return `${JSON.stringify(problem)}\n${stack}`;
  }
  const more = verbose ? [...detailLines(details), ...causeLines(error)] : [];
  return [`substrate: ${code}: ${printableLines(message)}`, ...more, stack].join("\n").trimEnd().concat("\n");
}

function known(error: unknown): { code: ErrorCode; message: string; details: Readonly<Record<string, unknown>> } {
  if (isVmSubstrateError(error)) return error;
  return { code: "INTERNAL_ERROR", message: messageOf(error), details: {} };
}

function detailLines(details: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(details).map(([name, value]) => `  ${name}: ${printable(JSON.stringify(value) ?? "")}`);
}

function causeLines(error: unknown): string[] {
  const lines: string[] = [];
  for (let cause = causeOf(error); cause !== undefined && lines.length < 8; cause = causeOf(cause)) {
    lines.push(`  caused by: ${printable(messageOf(cause))}`);
  }
  return lines;
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}
