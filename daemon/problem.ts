import { PROBLEM_URN, type Problem } from "../api/index.ts";
import { ERROR_CODES, type ErrorCode, isVmSubstrateError, VmSubstrateError } from "../lib/index.ts";

/** The HTTP status of each error. Exhaustive: a new code needs one. Source: RFC 9110, section 15. */
const STATUS: Readonly<Record<ErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  ABORTED: 409,
  TIMEOUT: 504,
  QMP_CONNECT: 502,
  QMP_CLOSED: 502,
  QMP_PROTOCOL: 502,
  QMP_COMMAND_FAILED: 502,
  GUEST_AGENT_TIMEOUT: 504,
  GUEST_AGENT_CLOSED: 502,
  GUEST_AGENT_PROTOCOL: 502,
  GUEST_COMMAND_FAILED: 422,
  GUEST_HELPER_FAILED: 502,
  GUEST_EXEC_TIMEOUT: 504,
  SESSION_FAILED: 502,
  QEMU_MISSING: 503,
  QEMU_UNSUPPORTED: 503,
  QEMU_EXITED: 502,
  PATH_TOO_LONG: 400,
  UNSAFE_DIRECTORY: 500,
  STATE_DIR_LOCKED: 503,
  STATE_DIR_DAMAGED: 500,
  INSUFFICIENT_SHARED_MEMORY: 503,
  INSUFFICIENT_MEMORY: 503,
  INSUFFICIENT_DISK: 507,
  INSUFFICIENT_DESCRIPTORS: 503,
  HOST_IO_FAILED: 500,
  RECIPE_UNKNOWN: 404,
  RECIPE_TOOL_MISSING: 503,
  RECIPE_FAILED: 422,
  DISK_IMAGE_REFUSED: 422,
  BUILD_FAILED: 422,
  SUBSTRATE_NOT_FOUND: 404,
  SUBSTRATE_CORRUPT: 500,
  SUBSTRATE_INCOMPATIBLE: 409,
  SUBSTRATE_IN_USE: 409,
  SUBSTRATE_ARCHIVE_INVALID: 422,
  STORE_CLOSED: 503,
  STORE_UNWRITABLE: 507,
  STORE_TOO_NEW: 500,
  STORE_COMPACTED: 410,
  STORE_LEASE_EXPIRED: 409,
  LEASE_CONFLICT: 409,
  LEASE_EXHAUSTED: 503,
  ADDRESS_OUTSIDE_SUBNET: 400,
  ADDRESS_IN_USE: 409,
  IDENTITY_UNVERIFIED: 502,
  RESOURCES_OUT_OF_REACH: 422,
  RESOURCES_UNVERIFIED: 502,
  RUN_FAILED: 422,
  IDEMPOTENCY_KEY_USED: 422,
  MEMORY_IN_USE: 409,
  FORK_REFUSED: 409,
  FORK_FAILED: 502,
  VM_GONE: 410,
  VM_PARKED: 409,
  VM_UNRESPONSIVE: 504,
  POOL_CLOSED: 503,
  NOT_FOUND: 404,
  REQUEST_REFUSED: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  RATE_LIMITED: 429,
  DAEMON_UNREACHABLE: 503,
  INTERNAL_ERROR: 500,
};

/** What may pass by itself, and after how many seconds it is worth another try. */
const RETRY_AFTER_SECONDS: Readonly<Partial<Record<ErrorCode, number>>> = {
  INSUFFICIENT_MEMORY: 2,
  INSUFFICIENT_SHARED_MEMORY: 2,
  INSUFFICIENT_DESCRIPTORS: 2,
  LEASE_EXHAUSTED: 5,
  RATE_LIMITED: 1,
  POOL_CLOSED: 2,
};

/** An error as it is told. What is not ours may carry anything, and is only in the log. */
export function problemOf(error: unknown, instance?: string): Problem {
  const known = asKnown(error);
  const { code, message } = known;
  const details = plain(known.details);
  return {
    type: `${PROBLEM_URN}${code}`,
    title: ERROR_CODES[code],
    status: statusOf(known),
    detail: message,
    code,
    ...(Object.keys(details).length === 0 ? {} : { details }),
    ...(instance === undefined ? {} : { instance }),
  };
}

/** Seconds; undefined when trying again is not known to help. */
export function retryAfter({ code, details }: Problem): number | undefined {
  if (!Object.hasOwn(RETRY_AFTER_SECONDS, code)) return undefined;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a code of ours
  const seconds = RETRY_AFTER_SECONDS[code as ErrorCode];
  const nextFreeMs = details?.nextFreeMs;
  return typeof nextFreeMs === "number" ? Math.max(1, Math.ceil(nextFreeMs / 1000)) : seconds;
}

function asKnown(error: unknown): VmSubstrateError {
  if (isVmSubstrateError(error)) return error;
  const status = clientStatus(error);
  if (status === undefined) return new VmSubstrateError("INTERNAL_ERROR", "something failed that should not");
  const message = error instanceof Error ? error.message : "the request cannot be read";
  if (status === 404) return new VmSubstrateError("NOT_FOUND", message);
  if (status === 429) return new VmSubstrateError("RATE_LIMITED", message);
  return new VmSubstrateError("REQUEST_REFUSED", message, { details: { status } });
}

/** Of the framework's own errors about a request: too large, of another type, not JSON. */
function clientStatus(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return undefined;
  const { statusCode } = error;
  return typeof statusCode === "number" && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}

function statusOf({ code, details }: VmSubstrateError): number {
  return code === "REQUEST_REFUSED" && typeof details.status === "number" ? details.status : STATUS[code];
}

/** Details may hold what JSON has not. An error is told in any case, if need be without them. */
function plain(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  try {
    const text = JSON.stringify(details, (_key, value: unknown) =>
      typeof value === "bigint" ? Number(value) : value instanceof Error ? value.message : value,
    );
    return JSON.parse(text);
  } catch {
    return {};
  }
}
