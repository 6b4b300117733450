import type { DatabaseSync } from "node:sqlite";
import { closeQuietly, openDatabase, unreadable, unwritable } from "./database.ts";
import { Draft } from "./draft.ts";
import type { Entry, Listing, StoreLease } from "./store.ts";
import { type Counters, Tables } from "./tables.ts";

/** SQLite's page: what a change of any size adds to the log, at least; its index or the counters add another one. */
const PAGE_SIZE = 4096;

/** The store's file, as it was last committed, and the one place that writes to it. */
export class Ledger {
  readonly #file: string;
  readonly #checkpointBytes: number;
  readonly #database: DatabaseSync;
  readonly #tables: Tables;
  #counters: Counters;
  #loggedBytes = 0;
  /** Why nothing can be written any more. */
  #fault: unknown;

  private constructor(file: string, checkpointBytes: number, database: DatabaseSync) {
    this.#file = file;
    this.#checkpointBytes = checkpointBytes;
    this.#database = database;
    this.#tables = new Tables(database);
    this.#counters = this.#tables.counters();
  }

  /** @throws VmSubstrateError STORE_TOO_NEW, STORE_UNWRITABLE, STATE_DIR_LOCKED, STATE_DIR_DAMAGED */
  static open(file: string, checkpointBytes: number): Ledger {
    const database = openDatabase(file);
    try {
      return new Ledger(file, checkpointBytes, database);
    } catch (error) {
      closeQuietly(database);
      throw unreadable(file, error);
    }
  }

  get revision(): number {
    return this.#counters.revision;
  }

  get isWritable(): boolean {
    return this.#fault === undefined;
  }

  /** @throws VmSubstrateError STATE_DIR_DAMAGED */
  entry(key: string): Entry | undefined {
    return this.#read(() => this.#tables.entry(key));
  }

  /** @throws VmSubstrateError STATE_DIR_DAMAGED */
  list(prefix: string): Listing {
    return this.#read(() => ({ entries: this.#tables.entries(prefix), revision: this.revision }));
  }

  /** @throws VmSubstrateError STATE_DIR_DAMAGED */
  leases(): StoreLease[] {
    return this.#read(() => this.#tables.leases());
  }

  /**
   * Makes what `work` does with the draft durable, all of it or nothing. An error that it throws counts as one of the
   * disk, so that it must keep those that are not.
   *
   * A failure ends all writing. After an error of fsync the kernel takes the lost pages for written: asked again it would
   * say yes (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
   *
   * @throws VmSubstrateError STORE_UNWRITABLE
   */
  commit(work: (draft: Draft) => void): Draft {
    this.requireWritable();
    const draft = new Draft(this.#tables, this.#counters);
    try {
      if (this.#loggedBytes > this.#checkpointBytes) this.#checkpoint();
      this.#tables.begin.run();
      work(draft);
      const isNew = draft.revision !== this.#counters.revision || draft.epoch !== this.#counters.epoch;
      if (isNew) this.#tables.setCounters(draft);
      this.#tables.commit.run();
    } catch (cause) {
      this.#fault = cause;
      this.#rollBack();
      throw unwritable(this.#file, cause);
    }
    this.#counters = { revision: draft.revision, epoch: draft.epoch };
    for (const { entry } of draft.changes) this.#loggedBytes += 2 * PAGE_SIZE + (entry?.value.length ?? 0);
    return draft;
  }

  /** @throws VmSubstrateError STORE_UNWRITABLE */
  requireWritable(): void {
    if (this.#fault !== undefined) throw unwritable(this.#file, this.#fault);
  }

  /**
   * SQLite copies the log to the database at the end, also after a fault. That writes every page anew before it asks for
   * an fsync, and the log stays where that fails: the next opening reads it.
   */
  close(): void {
    closeQuietly(this.#database);
  }

  #checkpoint(): void {
    this.#tables.checkpoint.all();
    this.#loggedBytes = 0;
  }

  #rollBack(): void {
    try {
      if (this.#database.isTransaction) this.#tables.rollback.run();
    } catch {
      // The first error is what the caller must hear of; SQLite itself rolls back where that failed.
    }
  }

  #read<T>(query: () => T): T {
    try {
      return query();
    } catch (error) {
      throw unreadable(this.#file, error);
    }
  }
}
