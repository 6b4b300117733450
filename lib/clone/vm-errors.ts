import { type ErrorCode, isVmSubstrateError, messageOf, VmSubstrateError } from "../core/index.ts";
import { isEnd, type VmState } from "./vm-state.ts";

/** What errors of a VM name it by. */
interface NamedVm {
  readonly id: string;
  readonly hostname: string;
  readonly state: VmState;
}

/** A guest that does not answer, by whichever channel it was asked. */
const UNANSWERED: ReadonlySet<ErrorCode> = new Set([
  "TIMEOUT",
  "GUEST_HELPER_FAILED",
  "GUEST_AGENT_TIMEOUT",
  "GUEST_AGENT_CLOSED",
]);

const MONITOR_SILENT: ReadonlySet<ErrorCode> = new Set(["TIMEOUT", "QMP_CONNECT", "QMP_CLOSED", "QMP_PROTOCOL"]);

export function isUnanswered(error: unknown): boolean {
  return isVmSubstrateError(error) && UNANSWERED.has(error.code);
}

/** A monitor that does not answer, or whose connection is lost. */
export function isMonitorSilent(error: unknown): boolean {
  return isVmSubstrateError(error) && MONITOR_SILENT.has(error.code);
}

export function goneError(vm: NamedVm, what: string, cause?: unknown): VmSubstrateError {
  const message = `${what}: VM ${vm.hostname} (${vm.id}) is ${vm.state}`;
  return new VmSubstrateError("VM_GONE", message, { cause, details: { id: vm.id, state: vm.state } });
}

/** What a VM failed by, or its end, if that came meanwhile: its channels end with its process. */
export async function explained<T>(
  vm: NamedVm,
  what: string,
  working: Promise<T>,
  isSilent: (error: unknown) => boolean = () => false,
): Promise<T> {
  try {
    return await working;
  } catch (error) {
    if (isEnd(vm.state) || isVmSubstrateError(error, "QEMU_EXITED")) throw goneError(vm, what, error);
    throw isSilent(error) ? silentError(vm, what, "QEMU", error) : error;
  }
}

export function parkedError(vm: NamedVm, what: string): VmSubstrateError {
  const message = `${what}: VM ${vm.hostname} (${vm.id}) is parked; resume() it first`;
  return new VmSubstrateError("VM_PARKED", message, { details: { id: vm.id } });
}

/** @param who does not answer: "QEMU", "its guest" */
export function silentError(vm: NamedVm, what: string, who: string, cause: unknown): VmSubstrateError {
  const message = `${what} of VM ${vm.hostname} (${vm.id}): ${who} does not answer: ${messageOf(cause)}`;
  return new VmSubstrateError("VM_UNRESPONSIVE", message, { cause, details: { id: vm.id } });
}

export function noSignOfLife(vm: NamedVm, withinMs: number, cause: unknown): VmSubstrateError {
  const message = `VM ${vm.hostname} (${vm.id}) gave no sign of life within ${withinMs} ms`;
  return new VmSubstrateError("VM_UNRESPONSIVE", message, { cause, details: { id: vm.id } });
}
