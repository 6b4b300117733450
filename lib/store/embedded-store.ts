import { performance } from "node:perf_hooks";
import { z } from "zod";
import { VmSubstrateError, validate } from "../core/index.ts";
import { keySchema, prefixSchema, transactionSchema, ttlSchema, watchOptionsSchema } from "./arguments.ts";
import { type Draft, leaseExpired } from "./draft.ts";
import { GroupCommit } from "./group-commit.ts";
import { History } from "./history.ts";
import { LeaseDeadlines } from "./lease-deadlines.ts";
import { Ledger } from "./ledger.ts";
import { DEFAULT_CHECKPOINT_BYTES, DEFAULT_HISTORY_LENGTH, MAX_HISTORY_LENGTH } from "./limits.ts";
import type {
  Change,
  Entry,
  Listing,
  Store,
  StoreLease,
  Transaction,
  TransactionResult,
  WatchOptions,
} from "./store.ts";
import { Watch } from "./watch.ts";

export interface EmbeddedStoreOptions {
  /** Milliseconds of a clock that is never set; by default `performance.now`. */
  readonly now?: (() => number) | undefined;
  /** How many of the latest changes a watch can go back. They are kept in memory, from the opening on. Default 10 000. */
  readonly historyLength?: number | undefined;
  /** Bytes of SQLite's log at which they are copied to the database. Default 4 MiB. */
  readonly checkpointBytes?: number | undefined;
}

const optionsSchema = z.strictObject({
  now: z.custom<() => number>((given) => typeof given === "function", "expected a function").default(() => monotonic),
  historyLength: z.int().min(1).max(MAX_HISTORY_LENGTH).default(DEFAULT_HISTORY_LENGTH),
  checkpointBytes: z.int().positive().default(DEFAULT_CHECKPOINT_BYTES),
});
const idSchema = z.string();

const monotonic = () => performance.now();

/**
 * A store in one SQLite file, for one process. Operations requested in one turn of the event loop share one commit.
 *
 * Leases end by a clock of this process. As after an election in etcd, they have their full time again when the store is
 * opened, for nobody could renew them meanwhile; nor do they end while it cannot be written.
 */
export class EmbeddedStore implements Store {
  readonly #ledger: Ledger;
  readonly #group: GroupCommit;
  readonly #history: History;
  readonly #leases: LeaseDeadlines;

  private constructor(ledger: Ledger, options: z.output<typeof optionsSchema>) {
    this.#ledger = ledger;
    this.#history = new History(options.historyLength, ledger.revision);
    this.#group = new GroupCommit((work) => this.#commit(work));
    this.#leases = new LeaseDeadlines(options.now, () => this.#endDueLeases());
    for (const lease of ledger.leases()) this.#leases.start(lease);
  }

  /**
   * The store in `file`, which is made where there is none, in a directory that exists and is private. Only the owner of
   * the state directory may open it.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, STORE_TOO_NEW, STORE_UNWRITABLE, STATE_DIR_DAMAGED, STATE_DIR_LOCKED
   */
  static async open(file: string, options: EmbeddedStoreOptions = {}): Promise<EmbeddedStore> {
    const checked = validate(optionsSchema, options, "options of a store");
    const ledger = Ledger.open(file, checked.checkpointBytes);
    try {
      return new EmbeddedStore(ledger, checked);
    } catch (error) {
      ledger.close();
      throw error;
    }
  }

  async get(key: string): Promise<Entry | undefined> {
    validate(keySchema, key, "key");
    this.#requireOpen();
    this.#endDueLeases();
    return this.#ledger.entry(key);
  }

  async list(prefix: string): Promise<Listing> {
    validate(prefixSchema, prefix, "prefix");
    this.#requireOpen();
    this.#endDueLeases();
    return this.#ledger.list(prefix);
  }

  async transact(transaction: Transaction): Promise<TransactionResult> {
    const checked = validate(transactionSchema, transaction, "transaction");
    return this.#request((draft) => draft.transact(checked));
  }

  async grantLease(ttlMs: number): Promise<StoreLease> {
    validate(ttlSchema, ttlMs, "ttlMs");
    return this.#request((draft) => draft.grantLease(ttlMs));
  }

  async renewLease(id: string): Promise<StoreLease> {
    validate(idSchema, id, "id of a lease");
    this.#requireOpen();
    this.#endDueLeases();
    this.#ledger.requireWritable();
    const lease = this.#leases.renew(id);
    if (lease === undefined) throw leaseExpired(id);
    return lease;
  }

  async revokeLease(id: string): Promise<void> {
    validate(idSchema, id, "id of a lease");
    return this.#request((draft) => draft.endLease(id));
  }

  watch(prefix: string, options: WatchOptions = {}): AsyncIterable<Change> {
    validate(prefixSchema, prefix, "prefix");
    return new Watch(this.#history, prefix, validate(watchOptionsSchema, options, "options of a watch"));
  }

  /** Commits what was requested, then ends all watches. Never throws; a second time does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#history.isClosed) return;
    this.#group.drain();
    this.#leases.stop();
    this.#history.close();
    this.#ledger.close();
  }

  #request<T>(operation: (draft: Draft) => T): Promise<T> {
    this.#requireOpen();
    this.#ledger.requireWritable();
    return this.#group.request(operation);
  }

  /** Leases whose time is over end first, so that no operation finds one alive. */
  #commit(work: (draft: Draft) => void): void {
    this.#ledger.requireWritable();
    const due = this.#leases.due();
    const draft = this.#ledger.commit((open) => {
      for (const id of due) open.endLease(id);
      work(open);
    });
    for (const lease of draft.granted) this.#leases.start(lease);
    for (const id of draft.ended) this.#leases.end(id);
    this.#history.append(draft.changes);
  }

  #endDueLeases(): void {
    if (!this.#ledger.isWritable || !this.#leases.mayBeDue) return;
    try {
      this.#commit(() => {});
    } catch {
      // Whoever reads goes on with the last committed state; whoever writes next is told.
    }
  }

  #requireOpen(): void {
    if (this.#history.isClosed) throw new VmSubstrateError("STORE_CLOSED", "the store was closed; open it again");
  }
}
