import {
  type ChannelKind,
  type ClonePlan,
  channelTo,
  type Growth,
  type Provision,
  type Timings,
} from "../clone/index.ts";
import { publicIdentity } from "../netcfg/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { Claim } from "./claim.ts";
import type { VmLedger } from "./vm-ledger.ts";
import { recordedResources, recordedTarget, type VmRecord } from "./vm-record.ts";

/** Of calls that do not claim or clone. */
const ORIGINS: Readonly<Record<string, VmRecord["origin"]>> = { coldBoot: "booted", fork: "forked" };

/** What of a call its VMs' records have. */
export interface RecordedCall {
  readonly what: string;
  readonly channel: ChannelKind;
  readonly labels: Readonly<Record<string, string>>;
  readonly provision: Provision;
  readonly growth: Growth | undefined;
}

/** What a later owner is to know of the clones of a call that is under way. */
export function claimingRecords(
  call: RecordedCall,
  claim: Claim,
  substrate: LoadedSubstrate,
  { ledger, bootId }: { readonly ledger: VmLedger; readonly bootId: string },
): VmRecord[] {
  return claim.plans.map((plan) => {
    const known = ledger.get(plan.id);
    return {
      ...(known ?? newRecord(plan, substrate, bootId)),
      phase: "claiming",
      resources: recordedResources(substrate.manifest, call.growth),
      channel: channelTo(substrate.manifest, call.channel),
      origin: ORIGINS[call.what] ?? (known === undefined ? "cloned" : "docked"),
      fabric: plan.fabric.kind,
      identity: publicIdentity(plan.identity),
      labels: call.labels,
      env: call.provision.env,
    };
  });
}

export function plainTimings({ phasesMs, totalMs }: Timings): VmRecord["timings"] {
  return { phasesMs: { ...phasesMs }, totalMs };
}

function newRecord(
  plan: ClonePlan,
  { manifest, instants }: LoadedSubstrate,
  boot: string,
): Omit<VmRecord, "phase" | "resources" | "channel" | "origin" | "fabric" | "labels" | "env"> {
  return {
    id: plan.id,
    uuid: plan.uuid,
    bootId: boot,
    substrate: { name: manifest.name, version: manifest.version },
    target: recordedTarget(manifest),
    createdAt: new Date().toISOString(),
    lifetime: { onExpiry: "release" },
    ...(instants.length > 0 ? { instants: [...instants] } : {}),
  };
}
