import type { DatabaseSync } from "node:sqlite";
import { VmSubstrateError } from "../core/index.ts";

/** "vmst" in SQLite's header tells a store from another program's database. */
const APPLICATION_ID = 0x76_6d_73_74;

/**
 * The schema's versions, from 1 on. What was released is never edited: a new version is a new item.
 *
 * The counters are a row, not the greatest values found in the tables: a deleted key or lease must not take them back.
 */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE counters (
     id INTEGER PRIMARY KEY CHECK (id = 1),
     revision INTEGER NOT NULL,
     epoch INTEGER NOT NULL
   ) STRICT;
   INSERT INTO counters VALUES (1, 0, 0);
   CREATE TABLE leases (
     id TEXT PRIMARY KEY,
     epoch INTEGER NOT NULL,
     ttl_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE entries (
     key TEXT PRIMARY KEY,
     value TEXT NOT NULL,
     revision INTEGER NOT NULL,
     lease_id TEXT
   ) STRICT;
   CREATE INDEX entries_of_leases ON entries (lease_id, key) WHERE lease_id IS NOT NULL;`,
];

/**
 * Reads nothing but the header, so that a store that is not ours to understand stays as it is.
 *
 * @throws VmSubstrateError STORE_TOO_NEW, STATE_DIR_DAMAGED
 */
export function checkVersion(database: DatabaseSync, file: string): void {
  const version = pragma(database, "user_version");
  const isEmpty = version === 0 && database.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined;
  if (!isEmpty && pragma(database, "application_id") !== APPLICATION_ID) {
    const problem = `${file} is another program's database; move it away, or choose another stateDir`;
    throw new VmSubstrateError("STATE_DIR_DAMAGED", problem, { details: { file } });
  }
  if (version <= MIGRATIONS.length) return;
  const message = `${file} has version ${version} of the store's schema, this library knows up to ${MIGRATIONS.length}; use the newer library, or another stateDir`;
  throw new VmSubstrateError("STORE_TOO_NEW", message, {
    details: { file, found: version, supported: MIGRATIONS.length },
  });
}

/** Brings the schema up to date, wholly or not at all. */
export function migrate(database: DatabaseSync): void {
  const version = pragma(database, "user_version");
  if (version === MIGRATIONS.length) return;
  database.exec("BEGIN IMMEDIATE");
  for (const migration of MIGRATIONS.slice(version)) database.exec(migration);
  database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}; COMMIT`);
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}
