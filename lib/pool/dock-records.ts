import { z } from "zod";
import { messageOf, VmSubstrateError } from "../core/index.ts";
import type { Store } from "../store/index.ts";
import { formatReference, parseReference, type SubstrateReference } from "../substrate/index.ts";
import { type DockTarget, dockTarget } from "./dock-target.ts";
import type { DockOptions } from "./options.ts";
import { dockOptionsSchema } from "./schemas.ts";

/** All keys of docks begin with it: "docks/mini", "docks/mini@3". */
const PREFIX = "docks/";

/** A dock as it was asked for. */
interface RecordedDock {
  readonly reference: SubstrateReference;
  readonly target: DockTarget;
}

/** A record of a dock, not read yet: one that cannot be read must not keep the others from it. */
export interface DockRecord {
  /** "mini", "mini@3" */
  readonly name: string;
  /** @throws VmSubstrateError STATE_DIR_DAMAGED */
  readonly read: () => RecordedDock;
}

/** What the docks of a pool are to hold, durable: each is one entry of the store, so that it is the old one or the new one. */
export class DockRecords {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** @throws VmSubstrateError STATE_DIR_DAMAGED, STORE_CLOSED */
  async all(): Promise<DockRecord[]> {
    const { entries } = await this.#store.list(PREFIX);
    return entries.map(({ key, value }) => ({ name: key.slice(PREFIX.length), read: () => parse(key, value) }));
  }

  /** @throws VmSubstrateError STORE_UNWRITABLE, STORE_CLOSED */
  async put(reference: SubstrateReference, target: DockTarget): Promise<void> {
    const value = JSON.stringify(optionsOf(target));
    await this.#store.transact({ writes: [{ put: keyOf(reference), value }] });
  }

  /** @returns whether there was one @throws VmSubstrateError as `put` */
  async remove(reference: SubstrateReference): Promise<boolean> {
    const key = keyOf(reference);
    if ((await this.#store.get(key)) === undefined) return false;
    await this.#store.transact({ writes: [{ delete: key }] });
    return true;
  }

  /** @throws VmSubstrateError as `all` and `put` */
  async removeAll(): Promise<void> {
    const { entries } = await this.#store.list(PREFIX);
    if (entries.length > 0) await this.#store.transact({ writes: entries.map(({ key }) => ({ delete: key })) });
  }
}

function keyOf(reference: SubstrateReference): string {
  return `${PREFIX}${formatReference(reference)}`;
}

/** The options that make the same target again, whatever the defaults are then. */
function optionsOf({ min, max, maxMiB, primed, template: { hostname, network } }: DockTarget): DockOptions {
  const { subnet, subnet6, reserved } = network;
  return {
    min,
    max,
    maxMiB,
    primed,
    hostname: hostname.pattern,
    network: { subnet: subnet.cidr, subnet6: subnet6?.cidr, reserved: reserved.map(({ text }) => text) },
  };
}

function parse(key: string, text: string): RecordedDock {
  try {
    const reference = parseReference(key.slice(PREFIX.length));
    return { reference, target: dockTarget(reference, dockOptionsSchema.parse(JSON.parse(text))) };
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw new VmSubstrateError("STATE_DIR_DAMAGED", `the store's ${key} cannot be read: ${problem}`, { cause });
  }
}
