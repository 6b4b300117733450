import { chmodSync, closeSync, fsyncSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf, VmSubstrateError } from "../core/index.ts";
import { MAX_IDLE_LOG_BYTES } from "./limits.ts";
import { checkVersion, migrate } from "./schema.ts";

const MODE = 0o600;

/** Result codes, of which an error's low byte is one. Source: sqlite.org/rescode.html */
const SQLITE = { BUSY: 5, READONLY: 8, IOERR: 10, CORRUPT: 11, FULL: 13, NOTADB: 26 } as const;
const DISK_ERRNOS: readonly unknown[] = ["EIO", "ENOSPC", "EDQUOT", "EROFS"];

/**
 * Opens the database of a store, and makes it where there is none.
 *
 * @throws VmSubstrateError STORE_TOO_NEW, STORE_UNWRITABLE, STATE_DIR_LOCKED, STATE_DIR_DAMAGED
 */
export function openDatabase(file: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    makePrivate(file);
    database = new DatabaseSync(file);
    // Two stores on one file would each count revisions for themselves. It also keeps the log's index out of a file.
    database.exec("PRAGMA locking_mode = EXCLUSIVE");
    checkVersion(database, file);
    configure(database);
    checkIntegrity(database);
    migrate(database);
    return database;
  } catch (error) {
    closeQuietly(database);
    throw openError(error, file);
  }
}

/** Whatever ends a connection after a failure has nothing to add to that failure. */
export function closeQuietly(database: DatabaseSync | undefined): void {
  try {
    database?.close();
  } catch {
    // The kernel releases the lock with the process at the latest.
  }
}

/** SQLite would make it with the mode 0644, and gives its log the database's mode. */
function makePrivate(file: string): void {
  try {
    closeSync(openSync(file, "wx", MODE));
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    // By path: to open the file and close it again would drop the POSIX locks that this process has on it.
    chmodSync(file, MODE);
    return;
  }
  // SQLite does this for its log only. Without it a power cut could take a database with acknowledged contents away.
  const directory = openSync(dirname(file), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function configure(database: DatabaseSync): void {
  // Not `get`, which stops at the first row: the change is committed after it, and that error would be nobody's.
  const mode = database.prepare("PRAGMA journal_mode = WAL").all()[0]?.journal_mode;
  if (mode !== "wal") throw new Error(`journal mode WAL was asked for, SQLite chose ${String(mode)}`);
  database.exec(`
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 0; -- it would keep its errors to itself
    PRAGMA journal_size_limit = ${MAX_IDLE_LOG_BYTES};
  `);
}

function checkIntegrity(database: DatabaseSync): void {
  const verdict = String(database.prepare("PRAGMA quick_check(1)").get()?.quick_check);
  // Its first line says no more than which database it is about.
  if (verdict !== "ok") throw Object.assign(new Error(verdict.split("\n").at(-1)), { errcode: SQLITE.CORRUPT });
}

function openError(error: unknown, file: string): VmSubstrateError {
  if (error instanceof VmSubstrateError) return error;
  const details = { file };
  const problem = messageOf(error);
  switch (sqliteCodeOf(error)) {
    case SQLITE.BUSY:
      return new VmSubstrateError("STATE_DIR_LOCKED", `${file} is open elsewhere; close it there first`, {
        cause: error,
        details,
      });
    case SQLITE.CORRUPT:
    case SQLITE.NOTADB: {
      const message = `${file} is damaged, or no store (${problem}); put a copy of it back, or move it away to begin with an empty one`;
      return new VmSubstrateError("STATE_DIR_DAMAGED", message, { cause: error, details });
    }
    case SQLITE.FULL:
    case SQLITE.IOERR:
    case SQLITE.READONLY:
      return unwritable(file, error);
    default:
      if (DISK_ERRNOS.includes(Reflect.get(Object(error), "code"))) return unwritable(file, error);
      return new VmSubstrateError("STATE_DIR_DAMAGED", `${file} cannot be opened (${problem}); mend that`, {
        cause: error,
        details,
      });
  }
}

/** The one error for a disk that does not take what is written. */
export function unwritable(file: string, cause: unknown): VmSubstrateError {
  const message = `${file} could not be written (${messageOf(cause)}); make room or mend the disk, then open the store again`;
  return new VmSubstrateError("STORE_UNWRITABLE", message, { cause, details: { file } });
}

/** A failed read: there is no telling what else is lost. */
export function unreadable(file: string, cause: unknown): VmSubstrateError {
  const message = `${file} could not be read (${messageOf(cause)}); mend the disk, or put a copy of the file back`;
  return new VmSubstrateError("STATE_DIR_DAMAGED", message, { cause, details: { file } });
}

function sqliteCodeOf(error: unknown): number {
  return error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : 0;
}
