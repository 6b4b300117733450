import type { Vm } from "../clone/index.ts";
import { MIB } from "../core/index.ts";
import type { Lifetimes } from "./lifetimes.ts";
import type { Memory } from "./memory.ts";
import type { Announcer } from "./pool-events.ts";
import type { VmLedger } from "./vm-ledger.ts";

export interface HandedOutDependencies {
  readonly ledger: VmLedger;
  readonly memory: Memory;
  readonly lifetimes: Lifetimes;
  readonly events: Announcer;
}

/** The VMs that are somebody's and have not ended. */
export class HandedOut {
  readonly #deps: HandedOutDependencies;
  readonly #vms = new Map<string, Vm>();

  constructor(deps: HandedOutDependencies) {
    this.#deps = deps;
  }

  get all(): readonly Vm[] {
    return [...this.#vms.values()];
  }

  get(id: string): Vm | undefined {
    return this.#vms.get(id);
  }

  has(id: string): boolean {
    return this.#vms.has(id);
  }

  /** A VM that was made for somebody. */
  handOver(vm: Vm): void {
    this.takeOver(vm);
    this.#deps.events.announce("activated", vm);
  }

  /** A VM that an earlier owner has handed out. */
  takeOver(vm: Vm): void {
    const { ledger, memory, lifetimes } = this.#deps;
    this.#vms.set(vm.id, vm);
    const record = ledger.get(vm.id);
    memory.runs(vm.id, vm.pid, (record?.resources.addedMemoryMiB ?? 0) * MIB);
    if (record !== undefined) lifetimes.set(vm, record.lifetime);
    this.#follow(vm);
  }

  forget(id: string): void {
    this.#vms.delete(id);
    this.#deps.memory.forget(id);
  }

  /** Passes on what a VM says. */
  #follow(vm: Vm): void {
    const { events } = this.#deps;
    vm.events.on("released", () => events.announce("released", vm));
    vm.events.on("exit", (cause) => events.announce("exit", vm, cause));
    vm.events.on("parked", () => events.announce("parked", vm));
    vm.events.on("resumed", () => events.announce("resumed", vm));
    vm.events.on("shrunk", () => events.announce("shrunk", vm));
    vm.events.on("unresponsive", (error) => events.announce("unresponsive", vm, error));
    vm.events.on("responsive", () => events.announce("responsive", vm));
  }
}
