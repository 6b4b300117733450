import type { Identity } from "../netcfg/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { Clone } from "./clone.ts";
import type { CloneDependencies } from "./dependencies.ts";
import { launchClone } from "./launch.ts";
import { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";
import { primeWith, settle, warm } from "./priming.ts";

/** What is decided about a docked clone before it is made. */
export interface DockPlan extends Pick<ClonePlan, "id" | "uuid"> {
  /** Makes it a primed one, with this for its identity; without one it is restored, and never runs. */
  readonly identity?: Identity | undefined;
}

/** A paused clone that waits to be claimed, plugged into nothing. */
export interface DockedClone {
  readonly plan: DockPlan;
  readonly clone: Clone;
}

/**
 * Launches a clone for the dock. A primed one has its identity set and verified, has run everything that a claim will run,
 * and is paused again: under emulation that takes the cold part of the work off the claim.
 *
 * @throws VmSubstrateError as `launchClone`, IDENTITY_UNVERIFIED, GUEST_*; nothing is left
 */
export async function dockClone(
  plan: DockPlan,
  substrate: LoadedSubstrate,
  deps: CloneDependencies,
  signal: AbortSignal,
): Promise<DockedClone> {
  const now = performance.now();
  await using undo = new AsyncDisposableStack();
  const clone = undo.use(await launchClone(plan, substrate, "helper", deps, new PhaseClock(now, now), signal));
  const { identity } = plan;
  if (identity !== undefined) {
    await clone.instance.process.guard("priming", prime(clone, identity, substrate, deps, signal));
  }
  undo.move();
  return { plan, clone };
}

async function prime(
  clone: Clone,
  identity: Identity,
  { manifest }: LoadedSubstrate,
  { failpoint }: CloneDependencies,
  signal: AbortSignal,
): Promise<void> {
  const { qmp } = clone.instance;
  await qmp.execute("cont", {}, { signal });
  failpoint("dock.running");
  if (!clone.isWarm) await warm(clone, manifest, signal);
  failpoint("dock.warmed");
  await primeWith(clone, identity, manifest, signal);
  failpoint("dock.personalised");
  await settle(clone, identity, manifest, signal);
  await qmp.execute("stop", {}, { signal });
  failpoint("dock.paused");
}
