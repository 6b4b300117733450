import {
  type ActivateOptions,
  addedMemoryMiB,
  type ClonePlan,
  type Growth,
  type OnFailpoint,
  type Provision,
  planGrowth,
  type ResourcesRequest,
  type Vm,
} from "../clone/index.ts";
import { hostFailure, isVmSubstrateError, MIB, throwIfAborted, VmSubstrateError } from "../core/index.ts";
import { monotonicMs } from "../host/index.ts";
import type { Fabric, Fabrics, LeaseBook } from "../netcfg/index.ts";
import type { LoadedSubstrate, SubstrateReference } from "../substrate/index.ts";
import { AddressProbes } from "./address-probes.ts";
import { settleBounded } from "./bounded.ts";
import { type Claim, type ClaimRequest, holdClaim } from "./claim.ts";
import { claimingRecords, plainTimings } from "./claim-records.ts";
import type { Docks } from "./docks.ts";
import { beginLifetime, type LifetimeSpec } from "./lifetime.ts";
import type { SubstrateUse } from "./loaded-substrates.ts";
import type { Memory } from "./memory.ts";
import { endedEarly, madeOf, type Outcome, outcomeOf, vmsOf } from "./outcomes.ts";
import type { Requests } from "./requests.ts";
import type { Room } from "./room.ts";
import type { Unsettled } from "./unsettled.ts";
import type { VmLedger } from "./vm-ledger.ts";
import { giveBack, type VmOwners } from "./vm-owners.ts";
import type { VmRecord } from "./vm-record.ts";
import type { WaitingLine } from "./waiting-line.ts";
import type { Zygotes } from "./zygotes.ts";

/** How one VM is made: by claiming or cloning, or by booting. */
export type StartVm = (plan: ClonePlan, substrate: LoadedSubstrate, options: ActivateOptions) => Promise<Vm>;

/** One call that makes VMs, validated. */
export interface ActivationCall extends Omit<ClaimRequest, "substrate" | "fabric"> {
  /** What the log calls it by. */
  readonly callId: string;
  readonly what: "activate" | "coldBoot" | "fork";
  readonly reference: SubstrateReference;
  readonly channel: ActivateOptions["channel"];
  readonly provision: Provision;
  readonly resources: ResourcesRequest;
  readonly labels: Readonly<Record<string, string>>;
  readonly lifetime: LifetimeSpec;
  /** All or none, or each for itself. */
  readonly mode: "atomic" | "settled";
  readonly wait: boolean;
  readonly idempotencyKey: string | undefined;
  readonly startedAt: number;
  readonly signal: AbortSignal;
  readonly start: StartVm;
  /** In place of the catalog: what the VMs are made of. */
  readonly use?: ActivationDependencies["use"];
}

/** A call, and what its VMs are to have beyond their substrate. */
type SizedCall = ActivationCall & { readonly growth: Growth | undefined };

export interface ActivationDependencies {
  /** The substrate stays in the catalog until what is returned is disposed. @param what needs it, for messages */
  readonly use: (reference: SubstrateReference, what: string) => Promise<SubstrateUse>;
  readonly ledger: VmLedger;
  readonly leases: LeaseBook;
  readonly fabrics: Fabrics;
  readonly docks: Docks;
  readonly memory: Memory;
  readonly room: Room;
  readonly line: WaitingLine;
  readonly requests: Requests;
  readonly owners: VmOwners;
  /** Of this machine. */
  readonly bootId: string;
  /** Ids that something of this process works with. */
  readonly working: Set<string>;
  readonly unsettled: Unsettled;
  readonly zygotes: Pick<Zygotes, "prepare">;
  readonly parallelStarts: number;
  readonly failpoint: OnFailpoint;
  readonly onWaiting: (call: ActivationCall, position: number) => void;
  /** A VM is its caller's from here on. */
  readonly onHandedOver: (vm: Vm) => void;
}

/** Hosts that use free addresses without having been asked for them: as many are met before a call gives up. */
const MAX_ADDRESS_ATTEMPTS = 8;
/** To launch so many clones takes longer than to make a zygote for them. */
const MANY_CLONES = 4;
/** For calls that launch nothing. */
const NO_ROOM: Disposable = { [Symbol.dispose]: () => {} };

/** Makes VMs: admission, claim, intent, the work, hand-over; and takes everything back that does not get that far. */
export class Activations {
  readonly #deps: ActivationDependencies;

  constructor(deps: ActivationDependencies) {
    this.#deps = deps;
  }

  /**
   * In mode `atomic` every outcome is a VM, or this throws.
   * @throws VmSubstrateError as `Pool.activate`
   */
  async run(call: ActivationCall): Promise<Outcome[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(call);
      } catch (error) {
        // The address is quarantined now: the next attempt chooses another, unless the caller insists on it.
        const again = isVmSubstrateError(error, "ADDRESS_IN_USE") && call.addresses === undefined;
        if (!again || attempt === MAX_ADDRESS_ATTEMPTS) throw error;
      }
    }
  }

  async #attempt(call: ActivationCall): Promise<Outcome[]> {
    const { line, fabrics, working } = this.#deps;
    using inUse = await (call.use ?? this.#deps.use)(call.reference, call.what);
    const { loaded: substrate } = inUse;
    throwIfAborted(call.signal, call.what);
    requireKeysFile(call, substrate);
    const sized = { ...call, growth: growthOf(call, substrate) };
    const isMany = call.what === "activate" && this.#toLaunch(call, substrate) >= MANY_CLONES;
    if (isMany && call.channel === "helper") await this.#deps.zygotes.prepare(substrate, call.count, call.signal);
    const onPosition = (position: number) => this.#deps.onWaiting(call, position);
    using joined = await fabrics.join(call.template.fabric, call.template.network);
    const attempt = () => this.#claimSettled(sized, substrate, joined.fabric);
    const { claim, room } = await line.run(attempt, {
      ...call,
      onPosition,
      needsRoom: () => addedBytes(sized.growth) > 0 || this.#toLaunch(call, substrate) > 0,
    });
    using _ = room;
    const ids = claim.plans.map(({ id }) => id);
    for (const id of ids) working.add(id);
    try {
      const plannedAt = performance.now();
      const records = claimingRecords(sized, claim, substrate, this.#deps);
      const intent = this.#intend(call, claim, records);
      intent.catch(() => {}); // waited for by each VM, before anybody can see anything of it
      // Of docked clones a later owner knows, and ends them; of a new one it has to hear before there is a process.
      if (claim.docked.size < claim.plans.length) await intent;
      return await this.#work(sized, claim, substrate, { plannedAt, records, intent });
    } finally {
      for (const id of ids) working.delete(id);
    }
  }

  /** What a docked clone holds cannot be had while that is being made or ended, and can right after. */
  async #claimSettled(
    call: SizedCall,
    substrate: LoadedSubstrate,
    fabric: Fabric,
  ): Promise<{ claim: Claim; room: Disposable }> {
    for (;;) {
      throwIfAborted(call.signal, call.what);
      try {
        return await this.#claim(call, substrate, fabric);
      } catch (error) {
        const holder = isVmSubstrateError(error, "LEASE_CONFLICT") ? String(error.details.holder) : "";
        if (!this.#deps.unsettled.has(holder)) throw error;
        await this.#deps.unsettled.settled(holder, call.signal);
      }
    }
  }

  /** Admission, and the claim in the same turn. */
  async #claim(
    call: SizedCall,
    substrate: LoadedSubstrate,
    fabric: Fabric,
  ): Promise<{ claim: Claim; room: Disposable }> {
    const launched = this.#toLaunch(call, substrate);
    const purpose = `${call.what} of ${call.count} VMs`;
    const added = call.count * addedBytes(call.growth);
    const room = launched + added > 0 ? await this.#deps.room.reserve(launched, purpose, added) : NO_ROOM;
    if (this.#toLaunch(call, substrate) > launched) {
      room[Symbol.dispose](); // others were faster at the dock
      return this.#claim(call, substrate, fabric);
    }
    try {
      return { claim: holdClaim({ ...call, substrate, fabric }, this.#deps), room };
    } catch (error) {
      room[Symbol.dispose]();
      throw error;
    }
  }

  /** Docked clones have their memory already, and their descriptors. */
  #toLaunch({ count, fromDock }: ActivationCall, substrate: LoadedSubstrate): number {
    const ready = fromDock ? (this.#deps.docks.of(substrate)?.ready.length ?? 0) : 0;
    return count - Math.min(count, ready);
  }

  /** When it is done, a later owner knows of every clone of the call. When it fails, docked ones are ended. */
  async #intend(call: ActivationCall, claim: Claim, put: readonly VmRecord[]): Promise<void> {
    const { ledger, requests, failpoint } = this.#deps;
    const ids = claim.plans.map(({ id }) => id);
    try {
      failpoint("claim.held");
      const writes = requests.begun(call.idempotencyKey, ids);
      // Of docked clones that keep their identity a later owner knows all already: that nobody has them.
      if (claim.isSettled && writes.length === 0) return;
      await ledger.commit({ put, changes: [claim.hold], writes });
    } catch (error) {
      claim.hold.cancel(); // of no effect when it was settled by the commit
      requests.undone(call.idempotencyKey);
      await this.#endDocked(claim);
      throw error;
    }
  }

  async #work(
    call: SizedCall,
    claim: Claim,
    substrate: LoadedSubstrate,
    { plannedAt, records, intent }: { plannedAt: number; records: readonly VmRecord[]; intent: Promise<void> },
  ): Promise<Outcome[]> {
    using probes = new AddressProbes(claim, this.#deps);
    const evicting = Promise.allSettled(claim.evicted.map((docked) => docked[Symbol.asyncDispose]()));
    const results = await settleBounded(
      claim.plans,
      { limit: this.#deps.parallelStarts, signal: call.signal, failFast: call.mode === "atomic" },
      (plan, signal) =>
        this.#startOne(call, plan, claim, substrate, { plannedAt, signal, probes, intent }).catch((error: unknown) => {
          throw hostFailure(error) ?? error;
        }),
    );
    await evicting;
    await intent; // without it there is nothing to undo
    // What is not ours to name is a mistake in this library, or a signal's reason: no outcome of one VM.
    const isFatal = ({ reason }: PromiseRejectedResult) => call.mode === "atomic" || !isVmSubstrateError(reason);
    const failure = results.filter((result) => result.status === "rejected").find(isFatal);
    if (failure !== undefined) {
      await this.#undo(call, claim, vmsOf(results));
      throw call.signal.aborted ? call.signal.reason : failure.reason;
    }
    const handedOver = await this.#handOver(call, claim, records, results).catch(async (error: unknown) => {
      await this.#undo(call, claim, vmsOf(results));
      throw error;
    });
    return results.map((result) => outcomeOf(result, handedOver));
  }

  async #startOne(
    call: SizedCall,
    plan: ClonePlan,
    claim: Claim,
    substrate: LoadedSubstrate,
    started: { plannedAt: number; signal: AbortSignal; probes: AddressProbes; intent: Promise<void> },
  ): Promise<Vm> {
    const { owners, memory, failpoint } = this.#deps;
    const { plannedAt, signal, probes, intent } = started;
    failpoint("claim.intended");
    const { channel, provision, labels, startedAt, growth } = call;
    const docked = claim.docked.get(plan.id)?.clone;
    const given = { channel, provision, labels, growth, startedAt };
    const options = { ...given, plannedAt, signal, docked, owner: owners.of(plan.id) };
    const beforePlugIn = async () => {
      await intent;
      await probes.requireUnused(plan);
    };
    const vm = await call.start(plan, substrate, { ...options, beforePlugIn });
    await probes.announce(plan);
    memory.track(vm.id, vm.pid, addedBytes(growth));
    failpoint("claim.made");
    return vm;
  }

  /** One transaction makes all of them their caller's: a repeated call finds all, or none. */
  async #handOver(
    call: ActivationCall,
    claim: Claim,
    records: readonly VmRecord[],
    results: readonly PromiseSettledResult<Vm>[],
  ): Promise<Set<Vm>> {
    const { ledger, requests, failpoint, onHandedOver } = this.#deps;
    const vms = vmsOf(results);
    const ended = vms.find((vm) => vm.state !== "running");
    if (ended !== undefined && call.mode === "atomic") throw endedEarly(ended);
    const lifetime = beginLifetime(call.lifetime, monotonicMs());
    const put: VmRecord[] = [];
    for (const vm of vms) {
      const process = await vm.processName();
      const record = records.find(({ id }) => id === vm.id);
      const isKnown = ledger.has(vm.id); // one that has ended meanwhile is not any more
      if (vm.state !== "running" || process === undefined || record === undefined || !isKnown) continue;
      const createdAt = vm.createdAt.toISOString();
      put.push({ ...record, phase: "running", process, lifetime, createdAt, timings: plainTimings(vm.timings) });
    }
    const given = new Set(vms.filter(({ id }) => put.some((record) => record.id === id)));
    const failures = claim.plans.filter(({ id }) => !put.some((record) => record.id === id));
    const discarded = failures.filter(({ id }) => !vms.some((vm) => vm.id === id));
    await Promise.allSettled(discarded.map(async ({ id }) => claim.docked.get(id)?.[Symbol.asyncDispose]()));
    const key = call.idempotencyKey;
    const made = results.map((result) => madeOf(outcomeOf(result, given)));
    const done = given.size > 0 ? requests.done(key, made) : requests.undone(key);
    await ledger.commit({
      put,
      remove: discarded.map(({ id }) => id),
      changes: discarded.map(({ id, fabric }) => giveBack(this.#deps.leases, id, fabric.kind)),
      writes: done,
    });
    failpoint("claim.handed-over");
    for (const vm of given) onHandedOver(vm);
    return given;
  }

  /** A call that failed as a whole: nothing of it stays, and its idempotency key is free again. */
  async #undo(call: ActivationCall, claim: Claim, vms: readonly Vm[]): Promise<void> {
    const { ledger, leases, requests, failpoint, line } = this.#deps;
    await Promise.allSettled(vms.map((vm) => vm.release()));
    await this.#endDocked(claim);
    failpoint("undo.ended");
    const ids = claim.plans.map(({ id }) => id);
    await ledger.commit({
      remove: ids.filter((id) => ledger.has(id)),
      changes: claim.plans.map(({ id, fabric }) => giveBack(leases, id, fabric.kind)),
      writes: requests.undone(call.idempotencyKey),
    });
    failpoint("undo.forgotten");
    line.notify();
  }

  /** Also those whose turn never came: a clone that was promised once does not go back. */
  async #endDocked({ docked, evicted }: Claim): Promise<void> {
    await Promise.allSettled([...docked.values(), ...evicted].map((one) => one[Symbol.asyncDispose]()));
  }
}

/** A cold boot is what its substrate was: there is nothing to compare a larger one with. */
function growthOf({ what, resources }: ActivationCall, { manifest }: LoadedSubstrate): Growth | undefined {
  const growth = planGrowth(resources, manifest);
  if (growth === undefined || what !== "coldBoot") return growth;
  throw new VmSubstrateError("INVALID_ARGUMENT", `${what}: resources are for clones; leave them out`);
}

function addedBytes(growth: Growth | undefined): number {
  return growth === undefined ? 0 : addedMemoryMiB(growth) * MIB;
}

/** Keys that nobody could log in with would be a silent loss. */
function requireKeysFile({ what, authorizedKeys }: ActivationCall, { manifest }: LoadedSubstrate): void {
  if (authorizedKeys.length === 0 || manifest.guest.identity.authorizedKeys !== undefined) return;
  const message = `${what}: substrate "${manifest.name}" has no file for authorizedKeys; leave them out, or give them by files`;
  throw new VmSubstrateError("INVALID_ARGUMENT", message);
}
