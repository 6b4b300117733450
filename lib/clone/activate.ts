import { personalise, publicIdentity, verifyResumed } from "../netcfg/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { Clone } from "./clone.ts";
import type { ChannelKind, CloneDependencies } from "./dependencies.ts";
import type { DockedClone } from "./docked-clone.ts";
import type { OnFailpoint } from "./failpoints.ts";
import { addResources, takeUpResources } from "./grow.ts";
import { openFabric, plugIn } from "./join-fabric.ts";
import { launchClone } from "./launch.ts";
import { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";
import { authorizedKeysFile, type Provision, provideFiles, runFirst, tellServices } from "./provision.ts";
import { frozenResources, type Growth } from "./resources.ts";
import { verifyFromOutside, verifyGeneration } from "./verify-outside.ts";
import { Vm } from "./vm.ts";
import type { VmOwner } from "./vm-owner.ts";
import type { VmOrigin } from "./vm-state.ts";

const PERSONALISE_TIMEOUT_MS = 15_000;

export interface ActivateOptions {
  readonly channel: ChannelKind;
  /** `performance.now()` of when the caller asked: its waiting counts. */
  readonly startedAt: number;
  /** `performance.now()` of when its plan was made. */
  readonly plannedAt: number;
  readonly signal: AbortSignal;
  /** A clone to claim instead of launching one; it is ours from here on, whatever happens. */
  readonly docked?: DockedClone | undefined;
  /** The last that may keep a verified clone from its network, by throwing. */
  readonly beforePlugIn?: (() => Promise<void>) | undefined;
  /** What it is to have beyond its substrate. */
  readonly growth?: Growth | undefined;
  readonly provision: Provision;
  readonly labels: Readonly<Record<string, string>>;
  readonly owner: VmOwner<Vm>;
}

/**
 * Turns a plan into a personal, running, verified VM: launch or claim, `cont` while it is plugged into nothing, identity, verified
 * from inside and outside, files, plugged in. A failure at any step ends the clone and leaves nothing; its leases stay with the caller.
 *
 * @throws VmSubstrateError of the step that failed
 */
export async function activateClone(
  plan: ClonePlan,
  substrate: LoadedSubstrate,
  options: ActivateOptions,
  deps: CloneDependencies,
): Promise<Vm> {
  const { signal, docked } = options;
  const clock = new PhaseClock(options.startedAt, options.plannedAt);
  await using undo = new AsyncDisposableStack();
  const clone = undo.use(docked?.clone ?? (await launchClone(plan, substrate, options.channel, deps, clock, signal)));
  const hasIdentity = docked !== undefined && docked.plan.identity === plan.identity;
  const making = makePersonal(clone, plan, substrate.manifest, {
    ...options,
    isPaused: true,
    hasIdentity,
    clock,
    ...deps,
  });
  await clone.instance.process.guard("activation", making);
  undo.move();
  const launched = substrate.instants.length > 0 ? "forked" : "cloned";
  return personalVm(plan, substrate, clone, docked === undefined ? launched : "docked", clock, options, deps);
}

export interface PersonalOptions {
  /** It has to be let run first. */
  readonly isPaused: boolean;
  /** It was given the identity before, and only has to show that it still has it. */
  readonly hasIdentity: boolean;
  readonly beforePlugIn?: ActivateOptions["beforePlugIn"];
  /** For a paused one. */
  readonly growth?: Growth | undefined;
  readonly provision: Provision;
  readonly clock: PhaseClock;
  readonly signal: AbortSignal;
  readonly failpoint: OnFailpoint;
}

/** A guest that is plugged into nothing: running, identity, checked, files, and plugged in. */
export async function makePersonal(
  clone: Clone,
  plan: ClonePlan,
  { guest: profile, tell }: Pick<LoadedSubstrate["manifest"], "guest" | "tell">,
  options: PersonalOptions,
): Promise<void> {
  const { instance, guest } = clone;
  const { signal, clock, failpoint, provision, growth } = options;
  const within = { timeoutMs: PERSONALISE_TIMEOUT_MS, signal };
  const identify = options.hasIdentity ? verifyResumed : personalise;
  if (growth !== undefined) await addResources(instance.qmp, growth, signal);
  failpoint("claim.added");
  clock.mark("resize");
  // None waits for another's answer: QEMU takes its commands in their order, and a guest finds its request when it wakes.
  await Promise.all([
    options.isPaused && wake(clone, failpoint, signal),
    identify(guest.helper, plan.identity, profile, within),
    openFabric(instance.qmp, plan.fabric, signal),
    options.hasIdentity && verifyFromOutside(instance, plan.identity, signal),
  ]);
  failpoint("claim.personalised");
  clock.mark("personalise");
  if (!options.hasIdentity) await tellServices(clone, tell, signal);
  if (!options.hasIdentity) await verifyFromOutside(instance, plan.identity, signal);
  if (profile.identity.vmGenerationId) await verifyGeneration(instance, plan.uuid, signal);
  failpoint("claim.verified");
  clock.mark("verify");
  if (growth !== undefined) await takeUpResources(instance.qmp, guest.helper, growth, profile, signal);
  failpoint("claim.resized");
  clock.mark("resize");
  const late = options.hasIdentity ? authorizedKeysFile(provision.authorizedKeys, profile.identity) : [];
  await provideFiles(clone, provision, late, signal);
  failpoint("claim.provisioned");
  clock.mark("files");
  await options.beforePlugIn?.();
  await plugIn(instance.qmp, plan.fabric, signal);
  failpoint("claim.linked");
  clock.mark("link");
  await runFirst(clone, provision, signal);
  failpoint("claim.ran");
  clock.mark("run");
}

async function wake({ instance }: Clone, failpoint: OnFailpoint, signal: AbortSignal): Promise<void> {
  await instance.qmp.execute("cont", {}, { signal });
  failpoint("claim.running");
}

/** The handle of a VM that was just made. */
export function personalVm(
  plan: ClonePlan,
  substrate: LoadedSubstrate,
  clone: Clone,
  origin: VmOrigin,
  clock: PhaseClock,
  { labels, provision, owner, growth }: Pick<ActivateOptions, "labels" | "provision" | "owner" | "growth">,
  { failpoint }: Pick<CloneDependencies, "failpoint">,
): Vm {
  const { name, version, guest } = substrate.manifest;
  return new Vm({
    id: plan.id,
    identity: publicIdentity(plan.identity),
    target: { interface: guest.interface, identity: { ipv6: guest.identity.ipv6 } },
    substrate: { name, version },
    resources: growth?.resources ?? frozenResources(substrate.manifest),
    origin,
    labels,
    env: provision.env,
    createdAt: new Date(),
    timings: clock.timings(),
    clone,
    owner,
    failpoint,
  });
}
