import type { Vm } from "../clone/index.ts";
import type { Outcome } from "./activations.ts";

/** @throws the first error */
export async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  for (const one of await Promise.allSettled(work)) if (one.status === "rejected") throw one.reason;
}

/** In mode `atomic` there is nothing else. */
export function allVms(outcomes: readonly Outcome[]): Vm[] {
  return outcomes.flatMap((outcome) => ("vm" in outcome ? [outcome.vm] : []));
}
