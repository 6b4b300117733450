import { isVmSubstrateError, type Logger } from "../core/index.ts";
import { formatReference } from "../substrate/index.ts";
import type { ActivationCall } from "./activations.ts";
import { allVms, type Outcome } from "./outcomes.ts";
import type { Announcer } from "./pool-events.ts";

export interface CallReportDependencies {
  readonly logger: Logger;
  readonly events: Announcer;
}

/**
 * Runs a call that makes VMs, and tells how it ended: one line in the log, and `failed` for what was not made: the whole call,
 * or each VM that a settled call could not make.
 *
 * @throws whatever `work` throws
 */
export async function reported(
  call: Pick<ActivationCall, "callId" | "what" | "reference" | "count" | "startedAt">,
  { logger, events }: CallReportDependencies,
  work: () => Promise<Outcome[]>,
): Promise<Outcome[]> {
  const { callId, what, count } = call;
  const substrate = formatReference(call.reference);
  const log = (outcomes: readonly Outcome[], outcome: string) => {
    const origins = countOrigins(outcomes);
    const totalMs = Math.round(performance.now() - call.startedAt);
    logger.info({ callId, what, substrate, count, origins, totalMs, outcome }, "a call for VMs has ended");
  };
  try {
    const outcomes = await work();
    const errors = outcomes.flatMap((one) => ("error" in one ? [one.error] : []));
    log(outcomes, errors[0]?.code ?? "OK");
    for (const error of errors) events.announce("failed", { callId, what, substrate, count: 1, error });
    return outcomes;
  } catch (reason) {
    const error = reason instanceof Error ? reason : new Error(String(reason));
    log([], isVmSubstrateError(error) ? error.code : error.name);
    events.announce("failed", { callId, what, substrate, count, error });
    throw reason;
  }
}

/** `{ docked: 2, cloned: 1 }` */
function countOrigins(outcomes: readonly Outcome[]): Record<string, number> {
  const origins: Record<string, number> = {};
  for (const { origin } of allVms(outcomes)) origins[origin] = (origins[origin] ?? 0) + 1;
  return origins;
}
