import type { Events, VmSubstrateError } from "../core/index.ts";
import type { VmEvents } from "./vm-state.ts";

/** Whether a VM gives signs of life, as those who listen to it have last heard. */
export class Responsiveness {
  readonly #events: Events<VmEvents>;
  #isThere = true;

  constructor(events: Events<VmEvents>) {
    this.#events = events;
  }

  get isThere(): boolean {
    return this.#isThere;
  }

  seen(): void {
    if (this.#isThere) return;
    this.#isThere = true;
    this.#events.announce("responsive");
  }

  missed(error: VmSubstrateError): void {
    if (!this.#isThere) return;
    this.#isThere = false;
    this.#events.announce("unresponsive", error);
  }
}
