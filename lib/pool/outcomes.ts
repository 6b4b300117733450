import type { Vm } from "../clone/index.ts";
import { isVmSubstrateError, VmSubstrateError } from "../core/index.ts";
import type { Made } from "./requests.ts";

/** What became of each VM of a call, in order. */
export type Outcome = { readonly vm: Vm } | { readonly error: VmSubstrateError };

/** @throws the first error */
export async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  for (const one of await Promise.allSettled(work)) if (one.status === "rejected") throw one.reason;
}

/** In mode `atomic` there is nothing else. */
export function allVms(outcomes: readonly Outcome[]): Vm[] {
  return outcomes.flatMap((outcome) => ("vm" in outcome ? [outcome.vm] : []));
}

export function vmsOf(results: readonly PromiseSettledResult<Vm>[]): Vm[] {
  return results.filter((result) => result.status === "fulfilled").map(({ value }) => value);
}

export function outcomeOf(result: PromiseSettledResult<Vm>, given: ReadonlySet<Vm>): Outcome {
  if (result.status === "rejected") {
    if (!isVmSubstrateError(result.reason)) throw result.reason; // cannot be: see isFatal
    return { error: result.reason };
  }
  return given.has(result.value) ? { vm: result.value } : { error: endedEarly(result.value) };
}

export function madeOf(outcome: Outcome): Made {
  return "vm" in outcome ? outcome.vm.id : { code: outcome.error.code, message: outcome.error.message };
}

export function endedEarly(vm: Vm): VmSubstrateError {
  return new VmSubstrateError("QEMU_EXITED", `VM ${vm.hostname} ended while others of its call were still being made`);
}
