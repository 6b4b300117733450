import type { Vm } from "../clone/index.ts";
import { type EventSource, Events } from "../core/index.ts";
import type { PoolEvents } from "./pool-events.ts";

/** Passes on what the VMs of a pool say. A listener that throws is its owner's mistake, and must not become a VM's. */
export class Announcer {
  readonly #events = new Events<PoolEvents>();

  get events(): EventSource<PoolEvents> {
    return this.#events;
  }

  announce<Name extends keyof PoolEvents>(name: Name, ...args: PoolEvents[Name]): void {
    try {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- eventemitter3 cannot tie generic arguments to a generic name
      (this.#events as unknown as Events<Record<string, unknown[]>>).emit(name, ...args);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }

  follow(vm: Vm): void {
    vm.events.on("released", () => this.announce("released", vm));
    vm.events.on("exit", (cause) => this.announce("exit", vm, cause));
    vm.events.on("parked", () => this.announce("parked", vm));
    vm.events.on("resumed", () => this.announce("resumed", vm));
    vm.events.on("unresponsive", (error) => this.announce("unresponsive", vm, error));
    vm.events.on("responsive", () => this.announce("responsive", vm));
  }
}
