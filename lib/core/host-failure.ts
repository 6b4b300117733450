import { isVmSubstrateError, VmSubstrateError } from "./errors.ts";

/**
 * What went wrong first, as an error of ours: one of Node's own functions names an errno, and an undo that failed as well hides
 * what it was for in a `SuppressedError`. Undefined for any other error, which is a mistake.
 */
export function hostFailure(error: unknown): VmSubstrateError | undefined {
  if (isVmSubstrateError(error)) return error;
  if (error instanceof SuppressedError) return hostFailure(error.suppressed);
  if (!(error instanceof Error) || !("code" in error) || !("errno" in error || "syscall" in error)) return undefined;
  const errno = String(error.code);
  return new VmSubstrateError("HOST_IO_FAILED", error.message, { cause: error, details: { errno } });
}
