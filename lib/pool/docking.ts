import { type CloneDependencies, channelTo, type DockPlan, dockClone, newClonePlan } from "../clone/index.ts";
import type { Fabric, Fabrics, Identity, LeaseBook, LeasedValues } from "../netcfg/index.ts";
import { AddressProbe, newIdentity, publicIdentity } from "../netcfg/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import { requireUnused } from "./address-probes.ts";
import type { Docked } from "./dock.ts";
import type { DockTarget } from "./dock-target.ts";
import type { Memory } from "./memory.ts";
import type { Room } from "./room.ts";
import type { Unsettled } from "./unsettled.ts";
import type { VmLedger } from "./vm-ledger.ts";
import { recordedResources, recordedTarget, type VmRecord } from "./vm-record.ts";
import type { Zygotes } from "./zygotes.ts";

const NOWHERE: Fabric = { kind: "none" };

export interface DockingDependencies extends CloneDependencies {
  readonly ledger: VmLedger;
  readonly bootId: string;
  readonly leases: LeaseBook;
  readonly fabrics: Fabrics;
  readonly memory: Memory;
  readonly room: Room;
  readonly working: Set<string>;
  readonly unsettled: Unsettled;
  readonly zygotes: Zygotes;
}

/**
 * Makes one clone for a dock: admission, intent with the leases of its identity, the work, and a record that says that it
 * waits. What fails leaves nothing.
 *
 * @throws VmSubstrateError INSUFFICIENT_*, LEASE_EXHAUSTED, and as `dockClone`
 */
export async function makeDocked(
  substrate: LoadedSubstrate,
  target: DockTarget,
  signal: AbortSignal,
  deps: DockingDependencies,
): Promise<Docked> {
  const { ledger, leases, memory, working } = deps;
  await deps.zygotes.prepare(substrate, target.min, signal); // a dock makes many
  using held = new DisposableStack();
  held.use(await deps.room.reserve(1, "a clone for the dock"));
  const names = newClonePlan();
  const { id } = names;
  const { hostname, network, key } = target.template;
  const hold = target.primed ? leases.hold([id], { hostname, network }) : undefined;
  const plan: DockPlan = { ...names, identity: hold && identityOf(hold.values[0] as LeasedValues, target) };
  working.add(id);
  held.use(deps.unsettled.begin(id));
  const forget = async () => {
    memory.forget(id);
    try {
      await ledger.commit({ remove: [id], changes: [leases.discard(id)] });
    } finally {
      working.delete(id);
    }
  };
  try {
    await ledger.commit({ put: [recordOf(plan, substrate, deps.bootId)], changes: hold === undefined ? [] : [hold] });
    const { identity } = plan;
    // A network that nobody has joined has no hosts either.
    const fabric = (identity && deps.fabrics.known(network)) ?? NOWHERE;
    using probe = await AddressProbe.open(fabric, identity === undefined ? [] : [identity]);
    const docked = await dockClone(plan, substrate, deps, signal);
    await using undo = new AsyncDisposableStack();
    undo.use(docked.clone);
    if (identity !== undefined) await requireUnused(probe, identity.address, deps);
    const { process } = docked.clone.instance;
    memory.track(id, process.pid);
    await ledger.update(id, { phase: "docked", process: await process.name() });
    deps.failpoint("dock.recorded");
    undo.move();
    return {
      clone: docked,
      templateKey: hold === undefined ? undefined : key,
      async [Symbol.asyncDispose]() {
        using _ = deps.unsettled.begin(id);
        await docked.clone[Symbol.asyncDispose]();
        await forget();
      },
    };
  } catch (error) {
    await forget().catch(() => {}); // what the disk does not take is found there when the pool is opened again
    throw error;
  }
}

function recordOf({ id, uuid, identity }: DockPlan, { manifest }: LoadedSubstrate, bootId: string): VmRecord {
  return {
    id,
    uuid,
    phase: "launching",
    bootId,
    substrate: { name: manifest.name, version: manifest.version },
    resources: recordedResources(manifest),
    channel: channelTo(manifest, "helper"),
    target: recordedTarget(manifest),
    fabric: "none",
    origin: "docked",
    createdAt: new Date().toISOString(),
    identity: identity && publicIdentity(identity),
    labels: {},
    env: {},
    lifetime: { onExpiry: "release" },
  };
}

function identityOf(values: LeasedValues, { template: { network } }: DockTarget): Identity {
  return newIdentity(values, {
    prefixLength: network.subnet.prefixLength,
    prefixLength6: network.subnet6?.prefixLength,
  });
}
