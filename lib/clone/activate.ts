import { VmSubstrateError } from "../core/index.ts";
import { NIC_ID, type QemuInstance } from "../host/index.ts";
import { awaitCarrier, type HelperChannel, type Identity, personalise } from "../netcfg/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { ChannelKind, CloneDependencies } from "./dependencies.ts";
import type { DockedClone } from "./docked-clone.ts";
import { joinFabric } from "./join-fabric.ts";
import { launchClone } from "./launch.ts";
import { PhaseClock } from "./phases.ts";
import type { ClonePlan } from "./plan.ts";
import { Vm } from "./vm.ts";

const PERSONALISE_TIMEOUT_MS = 15_000;
const CARRIER_TIMEOUT_MS = 5000;

export interface ActivateOptions {
  readonly channel: ChannelKind;
  /** `performance.now()` of when the caller asked: its waiting counts. */
  readonly startedAt: number;
  /** `performance.now()` of when its plan was made. */
  readonly plannedAt: number;
  readonly signal: AbortSignal;
  /** A clone to claim instead of launching one; it is ours from here on, whatever happens. */
  readonly docked?: DockedClone | undefined;
  /** Gives the identity's leases back; called once, when the VM is gone. */
  readonly releaseLeases: () => void;
}

/**
 * Turns a plan into a personal, running, verified VM: launch or claim, `cont` with the link down, personalise, verify from inside
 * and outside, link up. A failure at any step ends the clone and leaves nothing; its leases stay with the caller.
 *
 * @throws VmSubstrateError of the step that failed
 */
export async function activateClone(
  plan: ClonePlan,
  substrate: LoadedSubstrate,
  options: ActivateOptions,
  deps: CloneDependencies,
): Promise<Vm> {
  const { signal } = options;
  const clock = new PhaseClock(options.startedAt, options.plannedAt);
  await using undo = new AsyncDisposableStack();
  const { docked } = options;
  const clone = undo.use(docked?.clone ?? (await launchClone(plan, substrate, options.channel, deps, clock, signal)));
  const { instance, helper } = clone;
  const working = async () => {
    await instance.qmp.execute("cont", {}, { signal });
    await giveIdentity(instance, helper, plan, substrate.manifest.guest, clock, signal);
  };
  await instance.process.guard("activation", working());

  undo.move();
  const { name, version } = substrate.manifest;
  return new Vm({
    id: plan.id,
    identity: plan.identity,
    substrate: { name, version },
    origin: docked === undefined ? "cloned" : "docked",
    clone,
    timings: clock.timings(),
    releaseLeases: options.releaseLeases,
  });
}

/** Identity into a running guest whose link is down, checked, then the link up. */
export async function giveIdentity(
  instance: QemuInstance,
  helper: HelperChannel,
  plan: ClonePlan,
  guest: LoadedSubstrate["manifest"]["guest"],
  clock: PhaseClock,
  signal: AbortSignal,
): Promise<void> {
  const target = { interface: guest.interface, sshHostKey: guest.sshHostKey };
  await Promise.all([
    personalise(helper, plan.identity, target, { timeoutMs: PERSONALISE_TIMEOUT_MS, signal }),
    joinFabric(instance.qmp, plan.fabric, signal),
  ]);
  clock.mark("personalise");
  await verifyFromOutside(instance, plan.identity, signal);
  clock.mark("verify");
  if (plan.fabric.kind !== "none") {
    await instance.qmp.execute("set_link", { name: NIC_ID, up: true }, { signal });
    await awaitCarrier(helper, guest.interface, { timeoutMs: CARRIER_TIMEOUT_MS, signal });
  }
  clock.mark("link");
}

/** What the guest cannot lie about: the MAC address that its NIC was programmed with. */
async function verifyFromOutside(instance: QemuInstance, identity: Identity, signal: AbortSignal): Promise<void> {
  const [filter] = await instance.qmp.execute("query-rx-filter", { name: NIC_ID }, { signal });
  const found = filter?.["main-mac"]?.toLowerCase();
  if (found === identity.mac) return;
  throw new VmSubstrateError("IDENTITY_UNVERIFIED", `the NIC's MAC address is "${found}", expected "${identity.mac}"`, {
    details: { part: "mac", expected: identity.mac, got: found },
  });
}
