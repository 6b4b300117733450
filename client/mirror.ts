import type { DaemonEvent, OperationView, Snapshot, Tick, VmView } from "../api/index.ts";
import { Events } from "../lib/core/index.ts";
import type { DockStatus, MemoryUse } from "../lib/index.ts";
import type { PoolEventsOf } from "./pool-handle.ts";
import { errorOf } from "./problem-error.ts";
import type { RemoteVm } from "./remote-vm.ts";
import { dockOf, memoryOf } from "./views.ts";

/** An answer that tells of a VM is not later than so many other VMs' ends. */
const MAX_GONE = 10_000;

export interface MirrorDependencies {
  readonly make: (view: VmView) => RemoteVm;
  readonly onOperation: (operation: OperationView) => void;
}

/** What a client knows of its daemon: as it was told, in the order in which it was told. */
export class Mirror {
  readonly events = new Events<PoolEventsOf<RemoteVm>>();
  readonly #deps: MirrorDependencies;
  readonly #vms = new Map<string, RemoteVm>();
  /** Ids of VMs that have ended: what is told of them later comes too late. */
  readonly #gone = new Set<string>();
  readonly #docks = new Map<string, DockStatus>();
  #memory: MemoryUse = { clones: 0, bytes: 0, perVmBytes: 0, budgetBytes: undefined };

  constructor(deps: MirrorDependencies) {
    this.#deps = deps;
  }

  get vms(): readonly RemoteVm[] {
    return [...this.#vms.values()];
  }

  get docks(): readonly DockStatus[] {
    return [...this.#docks.values()];
  }

  get memory(): MemoryUse {
    return this.#memory;
  }

  /** The handle of a VM, one for each. */
  handleOf(view: VmView): RemoteVm {
    const known = this.#vms.get(view.id);
    if (known !== undefined) return known;
    const vm = this.#deps.make(view);
    if (this.#gone.has(view.id)) vm.ended("released");
    if (!vm.isGone) this.#vms.set(vm.id, vm);
    return vm;
  }

  setDock(status: DockStatus): void {
    this.#docks.set(keyOf(status), status);
  }

  forgetDock(name: string): void {
    this.#docks.delete(name.replace(/@latest$/, ""));
  }

  /** By this client itself; the event that follows finds it gone. */
  released(vm: RemoteVm): void {
    this.#forget(vm.id);
    if (this.#vms.delete(vm.id)) this.events.announce("released", vm);
  }

  /** A message of the event stream. */
  take(type: string, message: unknown): void {
    if (type === "snapshot") this.#takeSnapshot(message as Snapshot);
    else if (type === "tick") this.#memory = memoryOf((message as Tick).memory);
    else this.#takeEvent(message as DaemonEvent);
  }

  /** All there is: what is missing has ended while nobody listened. */
  #takeSnapshot({ vms, docks, memory }: Snapshot): void {
    const there = new Set(vms.map(({ id }) => id));
    for (const vm of this.vms) if (!there.has(vm.id)) this.#end(vm);
    for (const view of vms) this.handleOf(view).follow(view);
    this.#docks.clear();
    for (const dock of docks) this.setDock(dockOf(dock));
    this.#memory = memoryOf(memory);
  }

  /** Returns nothing of interest. */
  #takeEvent(event: DaemonEvent): unknown {
    const { events } = this;
    switch (event.type) {
      case "activated":
        return events.announce("activated", this.handleOf(event.data.vm));
      case "parked":
      case "resumed":
      case "shrunk":
      case "responsive":
      case "extended": {
        const vm = this.handleOf(event.data.vm);
        vm.follow(event.data.vm);
        return events.announce(event.type, vm);
      }
      case "unresponsive": {
        const vm = this.handleOf(event.data.vm);
        const error = errorOf(event.data.error);
        vm.unresponsive(event.data.vm, error);
        return events.announce("unresponsive", vm, error);
      }
      case "released": {
        this.#forget(event.data.vm.id);
        const vm = this.#vms.get(event.data.vm.id);
        return vm && this.#end(vm);
      }
      case "exit": {
        this.#forget(event.data.vm.id);
        const vm = this.#vms.get(event.data.vm.id);
        if (vm === undefined) return undefined;
        const { code, signal } = event.data;
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the name of a signal
        const cause = { code, signal: signal as NodeJS.Signals | null };
        this.#vms.delete(vm.id);
        vm.exited(cause);
        return events.announce("exit", vm, cause);
      }
      case "forked":
        return events.announce("forked", this.handleOf(event.data.vm), event.data.report);
      case "waiting":
        return events.announce("waiting", event.data);
      case "failed":
        return events.announce("failed", { ...event.data, error: errorOf(event.data.error) });
      case "dock": {
        const status = dockOf(event.data.dock);
        this.setDock(status);
        return events.announce("dock", status);
      }
      case "undocked":
        this.#docks.delete(keyOf(event.data.dock));
        return events.announce("undocked", event.data.dock);
      case "built":
        return events.announce("built", event.data.substrate);
      case "removed":
        return events.announce("removed", event.data.substrate);
      case "operation":
        return this.#deps.onOperation(event.data.operation);
    }
  }

  #forget(id: string): void {
    this.#gone.add(id);
    const [oldest] = this.#gone;
    if (this.#gone.size > MAX_GONE && oldest !== undefined) this.#gone.delete(oldest);
  }

  #end(vm: RemoteVm): void {
    vm.ended("released");
    this.released(vm);
  }
}

/** As the daemon's pool knows a dock: one of a certain version may be beside one that follows the newest. */
function keyOf({ substrate, version, pinned }: Pick<DockStatus, "substrate" | "version" | "pinned">): string {
  return pinned ? `${substrate}@${version}` : substrate;
}
