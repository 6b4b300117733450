import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Paths } from "../host/index.ts";
import type { VmLedger } from "./vm-ledger.ts";

export interface InstantsDependencies {
  readonly paths: Paths;
  readonly ledger: VmLedger;
}

/** The disks of instants. Each stays for as long as a VM's record names it, or a call under way makes VMs of it. */
export class Instants {
  readonly #deps: InstantsDependencies;
  readonly #holds = new Set<readonly string[]>();

  constructor(deps: InstantsDependencies) {
    this.#deps = deps;
  }

  /** Keeps instants that no record may name yet, or any more, until the result is disposed. */
  hold(ids: readonly string[]): Disposable {
    const hold = [...ids];
    this.#holds.add(hold);
    return { [Symbol.dispose]: () => void this.#holds.delete(hold) };
  }

  /** Removes those that nobody reads from any more. @returns their ids */
  async sweep(): Promise<string[]> {
    const { paths, ledger } = this.#deps;
    const removed: string[] = [];
    for (const id of await readdir(paths.forks).catch(() => [])) {
      const isHeld = [...this.#holds].some((ids) => ids.includes(id));
      if (isHeld || ledger.records.some(({ instants = [] }) => instants.includes(id))) continue;
      await rm(join(paths.forks, id), { recursive: true, force: true });
      removed.push(id);
    }
    return removed;
  }
}
