import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import type { Entry, StoreLease } from "./store.ts";

type Row = Record<string, SQLOutputValue>;

/** How far a store has come. Both numbers only grow. */
export interface Counters {
  readonly revision: number;
  readonly epoch: number;
}

/** Greater than every character of a key: all keys with a prefix sort before the prefix and this. */
const AFTER_KEYS = "\x7f";

/** The statements of a store, prepared once. They know SQL, and nothing of revisions or leases. */
export class Tables {
  readonly begin: StatementSync;
  readonly commit: StatementSync;
  readonly rollback: StatementSync;
  readonly checkpoint: StatementSync;
  readonly #counters: StatementSync;
  readonly #setCounters: StatementSync;
  readonly #entry: StatementSync;
  readonly #revision: StatementSync;
  readonly #entries: StatementSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #leases: StatementSync;
  readonly #lease: StatementSync;
  readonly #addLease: StatementSync;
  readonly #deleteLease: StatementSync;
  readonly #keysOfLease: StatementSync;

  constructor(database: DatabaseSync) {
    const prepare = (sql: string) => database.prepare(sql);
    this.begin = prepare("BEGIN");
    this.commit = prepare("COMMIT");
    this.rollback = prepare("ROLLBACK");
    this.checkpoint = prepare("PRAGMA wal_checkpoint(PASSIVE)");
    this.#counters = prepare("SELECT revision, epoch FROM counters");
    this.#setCounters = prepare("UPDATE counters SET revision = ?, epoch = ?");
    this.#entry = prepare("SELECT * FROM entries WHERE key = ?");
    this.#revision = prepare("SELECT revision FROM entries WHERE key = ?");
    this.#entries = prepare("SELECT * FROM entries WHERE key >= ? AND key < ? ORDER BY key");
    this.#put = prepare(
      "INSERT INTO entries (key, value, revision, lease_id) VALUES (?1, ?2, ?3, ?4) " +
        "ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3, lease_id = ?4",
    );
    this.#delete = prepare("DELETE FROM entries WHERE key = ?");
    this.#leases = prepare("SELECT * FROM leases ORDER BY epoch");
    this.#lease = prepare("SELECT 1 FROM leases WHERE id = ?");
    this.#addLease = prepare("INSERT INTO leases (id, epoch, ttl_ms) VALUES (?, ?, ?)");
    this.#deleteLease = prepare("DELETE FROM leases WHERE id = ?");
    this.#keysOfLease = prepare("SELECT key FROM entries WHERE lease_id = ? ORDER BY key");
  }

  counters(): Counters {
    const row = this.#counters.get();
    if (row === undefined) throw new Error("the row of counters is missing");
    return { revision: Number(row.revision), epoch: Number(row.epoch) };
  }

  setCounters({ revision, epoch }: Counters): void {
    this.#setCounters.run(revision, epoch);
  }

  entry(key: string): Entry | undefined {
    const row = this.#entry.get(key);
    return row && entryOf(row);
  }

  /** 0 where there is no such key. */
  revisionOf(key: string): number {
    return Number(this.#revision.get(key)?.revision ?? 0);
  }

  entries(prefix: string): Entry[] {
    return this.#entries.all(prefix, prefix + AFTER_KEYS).map(entryOf);
  }

  put({ key, value, revision, leaseId }: Entry): void {
    this.#put.run(key, value, revision, leaseId ?? null);
  }

  /** Whether there was such a key. */
  delete(key: string): boolean {
    return this.#delete.run(key).changes === 1;
  }

  leases(): StoreLease[] {
    return this.#leases
      .all()
      .map((row) => ({ id: String(row.id), epoch: Number(row.epoch), ttlMs: Number(row.ttl_ms) }));
  }

  hasLease(id: string): boolean {
    return this.#lease.get(id) !== undefined;
  }

  addLease({ id, epoch, ttlMs }: StoreLease): void {
    this.#addLease.run(id, epoch, ttlMs);
  }

  deleteLease(id: string): void {
    this.#deleteLease.run(id);
  }

  keysOfLease(id: string): string[] {
    return this.#keysOfLease.all(id).map((row) => String(row.key));
  }
}

function entryOf(row: Row): Entry {
  return {
    key: String(row.key),
    value: String(row.value),
    revision: Number(row.revision),
    leaseId: row.lease_id === null ? undefined : String(row.lease_id),
  };
}
