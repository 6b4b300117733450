import { type ErrorCode, isVmSubstrateError } from "../lib/index.ts";

/** What the program's exit status says. */
export const EXIT_CODES = {
  0: "It was done.",
  1: "It failed, or only part of it was done.",
  2: "The command line or a value in it is wrong; nothing was touched.",
  3: "There is nothing of that name, or no more.",
  4: "Refused for lack of room: memory, disk, addresses or names.",
  5: "No daemon answers, and none could be started.",
  124: "It took too long.",
  125: "exec, shell: the program could not be run at all.",
  130: "Interrupted; what the command had begun was undone.",
} as const;
export type ExitCode = keyof typeof EXIT_CODES;

const BY_CODE: Readonly<Partial<Record<ErrorCode, ExitCode>>> = {
  INVALID_ARGUMENT: 2,
  NOT_FOUND: 3,
  VM_GONE: 3,
  SUBSTRATE_NOT_FOUND: 3,
  RECIPE_UNKNOWN: 3,
  INSUFFICIENT_MEMORY: 4,
  INSUFFICIENT_SHARED_MEMORY: 4,
  INSUFFICIENT_DISK: 4,
  INSUFFICIENT_DESCRIPTORS: 4,
  LEASE_EXHAUSTED: 4,
  DAEMON_UNREACHABLE: 5,
  STATE_DIR_LOCKED: 5,
  TIMEOUT: 124,
  GUEST_AGENT_TIMEOUT: 124,
  GUEST_EXEC_TIMEOUT: 124,
  ABORTED: 130,
};

export function exitCodeOf(error: unknown): ExitCode {
  return (isVmSubstrateError(error) ? BY_CODE[error.code] : undefined) ?? 1;
}

/** For `substrate help exit-codes`. */
export function exitCodesText(): string {
  const lines = Object.entries(EXIT_CODES).map(([code, meaning]) => `  ${code.padStart(3)}  ${meaning}`);
  const ofExec =
    "  exec and shell end with the program's own status, or with 128 and the number of the signal that ended it.";
  return `Exit status\n\n${lines.join("\n")}\n\n${ofExec}\n`;
}
