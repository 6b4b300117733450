import type { Expiry, OnFailpoint, Vm, VmOwner } from "../clone/index.ts";
import { MIB, VmSubstrateError } from "../core/index.ts";
import { monotonicMs } from "../host/index.ts";
import type { Change, FabricKind, LeaseBook } from "../netcfg/index.ts";
import type { Instants } from "./instants.ts";
import { extendLifetime, type Lifetime, nextDue } from "./lifetime.ts";
import type { Lifetimes } from "./lifetimes.ts";
import type { Memory } from "./memory.ts";
import type { Announcer } from "./pool-events.ts";
import type { VmLedger } from "./vm-ledger.ts";

export interface VmOwnersDependencies {
  readonly ledger: VmLedger;
  readonly leases: LeaseBook;
  readonly lifetimes: Lifetimes;
  readonly memory: Pick<Memory, "resized">;
  readonly failpoint: OnFailpoint;
  readonly events: Announcer;
  /** The VM of an id, once it was handed out. */
  readonly vm: (id: string) => Vm | undefined;
  readonly forks: () => { readonly fork: VmOwner<Vm>["fork"] };
  readonly freezes: () => { readonly freeze: VmOwner<Vm>["freeze"] };
  readonly instants: Pick<Instants, "sweep">;
  /** Nothing of a VM is left. */
  readonly onGone: (id: string) => void;
}

/** Makes the changes of VMs' lives durable, and gives back what they held. */
export class VmOwners {
  readonly #deps: VmOwnersDependencies;

  constructor(deps: VmOwnersDependencies) {
    this.#deps = deps;
  }

  of(id: string): VmOwner<Vm> {
    const { ledger, failpoint } = this.#deps;
    const lifetime = () => ledger.get(id)?.lifetime;
    const extend = (ms: number) => this.#extend(id, ms);
    return {
      parking: () => ledger.update(id, { phase: "parked" }),
      resuming: () => ledger.update(id, { phase: "running" }),
      releasing: async () => {
        await ledger.update(id, { phase: "releasing" });
        failpoint("release.intended");
      },
      gone: () => this.#gone(id),
      shrunk: (memoryMiB) => this.#shrunk(id, memoryMiB),
      extend,
      fork: (source, count, options) => this.#deps.forks().fork(source, count, options),
      freeze: (source, options) => this.#deps.freezes().freeze(source, options),
      get expiry() {
        return expiryOf(lifetime());
      },
    };
  }

  /** Removes the record and gives the leases back; addresses that were on a wire into quarantine. Idempotent. */
  async forget(id: string): Promise<void> {
    const { ledger, leases, lifetimes, instants, onGone } = this.#deps;
    const isForked = ledger.get(id)?.instants !== undefined;
    lifetimes.forget(id);
    try {
      await ledger.commit({ remove: [id], changes: [giveBack(leases, id, ledger.get(id)?.fabric), leases.sweep()] });
      if (isForked) await instants.sweep();
    } finally {
      onGone(id);
    }
  }

  async #gone(id: string): Promise<void> {
    const { failpoint, onGone } = this.#deps;
    try {
      failpoint("release.ended");
      await this.forget(id);
      failpoint("release.forgotten");
    } finally {
      onGone(id); // whatever could not be written down: there is no VM any more
    }
  }

  /** What was added first goes last, so that what is left of it is the difference. */
  async #shrunk(id: string, memoryMiB: number): Promise<void> {
    const { ledger, memory, failpoint } = this.#deps;
    const record = ledger.get(id);
    if (record === undefined || record.resources.memoryMiB === memoryMiB) return;
    failpoint("shrink.unplugged");
    const addedMemoryMiB = record.resources.addedMemoryMiB - (record.resources.memoryMiB - memoryMiB);
    await ledger.update(id, { resources: { ...record.resources, memoryMiB, addedMemoryMiB } });
    memory.resized(id, addedMemoryMiB * MIB);
  }

  async #extend(id: string, ms: number): Promise<Expiry> {
    const { ledger, lifetimes, failpoint, vm, events } = this.#deps;
    const record = ledger.get(id);
    if (record === undefined) throw new VmSubstrateError("VM_GONE", `extend: there is no VM ${id} any more`);
    const lifetime = extendLifetime(record.lifetime, monotonicMs(), ms);
    await ledger.update(id, { lifetime });
    failpoint("extend.recorded");
    const handedOut = vm(id);
    if (handedOut !== undefined) {
      lifetimes.set(handedOut, lifetime);
      events.announce("extended", handedOut);
    }
    return { at: new Date(Date.now() + ms) };
  }
}

/** What no neighbour can have seen needs no quarantine. */
export function giveBack(leases: LeaseBook, id: string, fabric: FabricKind | undefined): Change {
  return fabric === "none" ? leases.discard(id) : leases.release(id);
}

function expiryOf(lifetime: Lifetime | undefined): Expiry | undefined {
  const due = lifetime && nextDue(lifetime);
  return due && { at: new Date(Date.now() + due.atMs - monotonicMs()) };
}
