import { setTimeout as delay } from "node:timers/promises";
import { type Identity, newIdentity, personalise, randomMac, verifyResumed } from "../netcfg/index.ts";
import { guestExec } from "../qmp/index.ts";
import { type LoadedSubstrate, warmUp } from "../substrate/index.ts";
import type { Clone } from "./clone.ts";
import type { CloneDependencies } from "./dependencies.ts";
import { launchClone } from "./launch.ts";
import { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";
import { tellServices } from "./provision.ts";
import { verifyFromOutside } from "./verify-outside.ts";

const PRIME_TIMEOUT_MS = 30_000;
const SETTLE_MS = 100;
/** TEST-NET-1 (RFC 5737): an address that nobody has. */
const PLACEHOLDER_ADDRESS = "192.0.2.1";
const PLACEHOLDER_PREFIX = 24;

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
  { instance, guest }: Clone,
  identity: Identity,
  substrate: LoadedSubstrate,
  { failpoint }: CloneDependencies,
  signal: AbortSignal,
): Promise<void> {
  const profile = substrate.manifest.guest;
  const within = { timeoutMs: PRIME_TIMEOUT_MS, signal };
  await instance.qmp.execute("cont", {}, within);
  failpoint("dock.running");
  // Twice: a claim with another identity will have to replace one, which is other code than setting the first.
  await personalise(guest.helper, placeholder(identity), profile, within);
  await personalise(guest.helper, identity, profile, within);
  await tellServices({ guest }, substrate.manifest.tell, signal);
  await verifyFromOutside(instance, identity, signal);
  failpoint("dock.personalised");
  await guestExec(await guest.agent(), ["true"], within);
  await warmUp(profile.ready, guest.helper, within);
  await verifyResumed(guest.helper, identity, profile, within);
  failpoint("dock.warmed");
  // What all that has set off in the guest's kernel comes to rest here rather than in the claim.
  await delay(SETTLE_MS, undefined, { signal });
  await verifyResumed(guest.helper, identity, profile, within);
  await instance.qmp.execute("stop", {}, within);
  failpoint("dock.paused");
}

function placeholder({ hostname }: Identity): Identity {
  return newIdentity(
    { hostname, address: PLACEHOLDER_ADDRESS, mac: randomMac() },
    { prefixLength: PLACEHOLDER_PREFIX },
  );
}
