/**
 * Every code an error of this project can carry, with what it means. The union is closed: callers can switch over it,
 * and docs/ERRORS.md is held against this table by a test.
 */
export const ERROR_CODES = {
  INVALID_ARGUMENT: "An option or argument does not match its schema; nothing was touched.",
  ABORTED: "The caller's AbortSignal fired; everything begun was undone.",
  TIMEOUT: "A step did not finish within its deadline.",

  QMP_CONNECT: "The monitor socket could not be reached or did not greet in time.",
  QMP_CLOSED: "The monitor connection ended while something still needed it.",
  QMP_PROTOCOL: "The peer sent something that is not QMP (garbage, an endless line, a reply nobody asked for).",
  QMP_COMMAND_FAILED: "QEMU answered a command with an error.",

  GUEST_AGENT_TIMEOUT: "The guest agent did not answer within the deadline.",
  GUEST_AGENT_CLOSED: "The guest agent's channel ended while something still needed it.",
  GUEST_AGENT_PROTOCOL: "The guest agent sent something malformed, oversized or out of order.",
  GUEST_COMMAND_FAILED: "The guest agent answered a command with an error.",
  GUEST_HELPER_FAILED: "The resident helper in the guest did not answer, or refused an operation.",
  GUEST_EXEC_TIMEOUT: "A command in the guest ran past its timeout and was killed.",
  SESSION_FAILED: "A session with a program in the guest could not be carried there, or lost its way.",

  QEMU_MISSING: "The QEMU executable was not found or cannot be run.",
  QEMU_UNSUPPORTED: "This QEMU lacks a version or feature that is needed.",
  QEMU_EXITED: "A QEMU process ended before it was asked to.",

  PATH_TOO_LONG: "A unix socket path would exceed the kernel's 107 bytes.",
  UNSAFE_DIRECTORY: "A directory that must be private is owned by somebody else, open to others, or a symlink.",
  STATE_DIR_LOCKED: "Another process owns the state directory.",
  STATE_DIR_DAMAGED: "A file that the state directory needs is damaged or cannot be written.",
  INSUFFICIENT_SHARED_MEMORY: "The shared-memory file system has too little room.",
  INSUFFICIENT_MEMORY: "The machine, or the pool's budget, has too little free memory.",
  INSUFFICIENT_DISK: "A file system has too little room for what is to be written.",
  INSUFFICIENT_DESCRIPTORS: "This process may not open enough further files.",
  HOST_IO_FAILED: "A file, socket or process of this machine could not be made.",

  RECIPE_UNKNOWN: "There is no recipe of that name.",
  RECIPE_TOOL_MISSING: "A program that the recipe needs is not installed.",
  RECIPE_FAILED: "A step of making the guest's disk failed.",
  DISK_IMAGE_REFUSED: "A disk image is of a kind, or a size, that is not opened.",
  BUILD_FAILED: "The guest did not become ready, or could not be generalized or frozen.",
  SUBSTRATE_NOT_FOUND: "The catalog has no substrate of that name or version.",
  SUBSTRATE_CORRUPT: "A file of a substrate does not match its manifest.",
  SUBSTRATE_INCOMPATIBLE: "A substrate was frozen by a QEMU, CPU model or accelerator that this machine does not have.",
  SUBSTRATE_IN_USE: "A substrate cannot be removed while something uses it.",
  SUBSTRATE_ARCHIVE_INVALID: "A file is not the archive of a substrate, or does not match its own manifest.",

  STORE_CLOSED: "The store was closed.",
  STORE_UNWRITABLE: "The store's disk is full or failing; it is read-only until it is opened again.",
  STORE_TOO_NEW: "The store was written by a newer version of this library.",
  STORE_COMPACTED: "The changes that a watch asked for are no longer kept.",
  STORE_LEASE_EXPIRED: "A lease of the store has expired or was revoked.",

  LEASE_CONFLICT: "An identity value is already leased.",
  LEASE_EXHAUSTED: "The subnet or name pattern has too few free values.",
  ADDRESS_OUTSIDE_SUBNET: "An address does not belong to the hosts of its subnet.",
  ADDRESS_IN_USE: "A host that is none of the pool's VMs uses the address.",
  IDENTITY_UNVERIFIED: "A clone did not show the identity it was given; it was destroyed.",

  RESOURCES_OUT_OF_REACH: "The substrate is larger than the resources asked for, or was not built to reach them.",
  RESOURCES_UNVERIFIED: "A clone did not show the resources it was given; it was destroyed.",

  RUN_FAILED: "The command that a new VM had to run first did not succeed; the VM was destroyed.",
  IDEMPOTENCY_KEY_USED: "The idempotency key belongs to another call, or to VMs that are gone.",

  MEMORY_IN_USE: "The guest needs the memory that was to be taken away, and keeps it.",
  FORK_REFUSED: "The VM cannot be forked as it is; it was not touched.",
  FORK_FAILED: "QEMU did not give a VM's memory and devices at one instant; the VM runs on.",
  VM_GONE: "The VM was released or its process has ended.",
  VM_PARKED: "The VM is parked; resume it first.",
  VM_UNRESPONSIVE: "The VM does not answer its monitor or guest agent.",
  POOL_CLOSED: "The pool was closed.",

  NOT_FOUND: "There is nothing of that name, or at that address.",
  REQUEST_REFUSED: "The request is too large, malformed, or of a kind that is not served.",
  UNAUTHENTICATED: "The request carries no token, or none that is known.",
  FORBIDDEN: "The token may not do this, or the request came by a way that is not served.",
  RATE_LIMITED: "Too many requests at a time.",
  DAEMON_UNREACHABLE: "No daemon answers, or none could be started.",
  INTERNAL_ERROR: "Something failed that should not; the daemon's log has it under the request's id.",
} as const satisfies Record<string, string>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorOptionsWithDetails extends ErrorOptions {
  /** Machine-readable facts about the failure, for logs and API answers. Never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** The one error class of this project. The message says what was expected, what was got, and the way out. */
export class VmSubstrateError extends Error {
  override readonly name = "VmSubstrateError";
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: ErrorOptionsWithDetails = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.details = Object.freeze({ ...options.details });
  }
}

/** True for an error of ours, and of the given code where one is given. */
export function isVmSubstrateError(error: unknown, code?: ErrorCode): error is VmSubstrateError {
  return error instanceof VmSubstrateError && (code === undefined || error.code === code);
}

/** The text of whatever was thrown, for use inside another message. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
