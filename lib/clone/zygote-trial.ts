import type { ForkServer } from "../host/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { CloneDependencies } from "./dependencies.ts";
import { launchClone } from "./launch.ts";
import { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";
import { personaliseOnTrial } from "./priming.ts";
import { Zygote } from "./zygote.ts";
import type { Forkable } from "./zygote-source.ts";

type Names = Pick<ClonePlan, "id" | "uuid">;

/**
 * A zygote of which one clone was made that did what a claim does, before any claim relies on it.
 *
 * @param names the zygote's, and those of the clone on trial, which is ended
 * @throws whatever went wrong; nothing is left then
 */
export async function makeZygote(
  [own, trial]: readonly [Names, Names],
  substrate: LoadedSubstrate,
  deps: CloneDependencies & { readonly forkServer: ForkServer },
  signal: AbortSignal,
): Promise<Zygote> {
  if (!(await deps.forkServer.available())) throw new Error("there is no fork server"); // before a folder is made
  await using undo = new AsyncDisposableStack();
  const zygote = await Zygote.make(own, substrate, deps, signal);
  if (zygote === undefined) throw new Error("there is no fork server");
  undo.use(zygote);
  await tryOut(zygote, trial, substrate, deps, signal);
  undo.move();
  return zygote;
}

async function tryOut(
  zygote: Forkable,
  names: Names,
  substrate: LoadedSubstrate,
  deps: CloneDependencies,
  signal: AbortSignal,
): Promise<void> {
  const failed = (_: Forkable, error: unknown) => {
    throw error;
  };
  const now = performance.now();
  const withIt = { ...deps, zygotes: { of: () => zygote, failed } };
  await using clone = await launchClone(names, substrate, "helper", withIt, new PhaseClock(now, now), signal);
  const { process, qmp } = clone.instance;
  await qmp.execute("cont", {}, { signal });
  await process.guard("trial", personaliseOnTrial(clone, substrate.manifest, signal));
}
