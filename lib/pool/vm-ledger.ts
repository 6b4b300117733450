import { VmSubstrateError } from "../core/index.ts";
import { type Change, commit } from "../netcfg/index.ts";
import type { Store, Write } from "../store/index.ts";
import { parseRecord, RECORDS_PREFIX, recordKey, type VmRecord } from "./vm-record.ts";

/** What one change of the ledger consists of; other things that must change in the same instant come along. */
export interface LedgerChange {
  readonly put?: readonly VmRecord[];
  readonly remove?: readonly string[];
  /** Of leases: confirmed with the commit, or cancelled when it fails. */
  readonly changes?: readonly Change[];
  readonly writes?: readonly Write[];
}

/**
 * The durable record of every clone that exists, or may exist. A clone's record is written before anything of it is made, and
 * removed after everything of it is gone: whatever is found without one is nobody's.
 */
export class VmLedger {
  readonly #store: Store;
  readonly #records = new Map<string, VmRecord>();
  readonly #updates = new Map<string, Promise<void>>();

  private constructor(store: Store) {
    this.#store = store;
  }

  /** @throws VmSubstrateError STATE_DIR_DAMAGED */
  static async open(store: Store): Promise<VmLedger> {
    const ledger = new VmLedger(store);
    const { entries } = await store.list(RECORDS_PREFIX);
    for (const { key, value } of entries) {
      const record = parseRecord(key, value);
      ledger.#records.set(record.id, record);
    }
    return ledger;
  }

  get records(): readonly VmRecord[] {
    return [...this.#records.values()];
  }

  get(id: string): VmRecord | undefined {
    return this.#records.get(id);
  }

  has(id: string): boolean {
    return this.#records.has(id);
  }

  /**
   * Makes a change durable, whole or not at all. Nothing is written for a change that is empty.
   * @throws VmSubstrateError STORE_UNWRITABLE, STORE_CLOSED, LEASE_CONFLICT when another writer was faster
   */
  async commit({ put = [], remove = [], changes = [], writes = [] }: LedgerChange): Promise<void> {
    const own: Write[] = [
      ...put.map((record): Write => ({ put: recordKey(record.id), value: JSON.stringify(record) })),
      ...remove.map((id): Write => ({ delete: recordKey(id) })),
      ...writes,
    ];
    // Known from here on: whoever takes stock while this is under way must not take it for nobody's.
    const begun = put.filter(({ id }) => !this.#records.has(id));
    for (const record of begun) this.#records.set(record.id, record);
    try {
      const committed = await commit(this.#store, changes, { writes: own });
      if (!committed) throw new VmSubstrateError("LEASE_CONFLICT", "another writer was faster; call again");
    } catch (error) {
      for (const { id } of begun) this.#records.delete(id);
      throw error;
    }
    for (const record of put) this.#records.set(record.id, record);
    for (const id of remove) this.#records.delete(id);
  }

  /**
   * Changes parts of a clone's record, one change after the other: each begins with what the last one has made of it. Nothing
   * happens to a record that was removed meanwhile.
   * @throws VmSubstrateError STORE_UNWRITABLE, STORE_CLOSED
   */
  async update(id: string, changes: Partial<VmRecord>, more: Omit<LedgerChange, "put"> = {}): Promise<void> {
    const change = async () => {
      const record = this.#records.get(id);
      if (record !== undefined) await this.commit({ ...more, put: [{ ...record, ...changes }] });
    };
    const last = this.#updates.get(id);
    const updating = last === undefined ? change() : last.then(change, change);
    this.#updates.set(id, updating);
    try {
      await updating;
    } finally {
      if (this.#updates.get(id) === updating) this.#updates.delete(id);
    }
  }
}
