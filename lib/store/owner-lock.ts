import { DatabaseSync } from "node:sqlite";
import { messageOf, VmSubstrateError } from "../core/index.ts";
import { isBusy } from "./sqlite-busy.ts";

/**
 * Exclusive ownership of a state directory. It is SQLite's lock on a file, held for as long as this object lives: the
 * kernel drops it when the process ends, however it ends, so a crash never leaves a stale lock.
 */
export class OwnerLock implements Disposable {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @throws VmSubstrateError STATE_DIR_LOCKED naming the owner's PID, STATE_DIR_DAMAGED */
  static acquire(file: string, stateDir: string): OwnerLock {
    const database = new DatabaseSync(file);
    try {
      database.exec("PRAGMA journal_mode = DELETE; CREATE TABLE IF NOT EXISTS owner (pid INTEGER NOT NULL)");
      database.exec("DELETE FROM owner");
      database.prepare("INSERT INTO owner VALUES (?)").run(process.pid);
      // From here on nobody else can write, and so not become the owner.
      database.exec("BEGIN IMMEDIATE");
      return new OwnerLock(database);
    } catch (cause) {
      const pid = ownerOf(database);
      database.close();
      if (!isBusy(cause)) {
        const problem = `${file} cannot be used as a lock (${messageOf(cause)}); remove it if no pool is open there`;
        throw new VmSubstrateError("STATE_DIR_DAMAGED", problem, { cause, details: { stateDir } });
      }
      const owner = pid === undefined ? "another process" : `process ${pid}`;
      const message = `${stateDir} is owned by ${owner}; close that pool first, or choose another stateDir`;
      throw new VmSubstrateError("STATE_DIR_LOCKED", message, { cause, details: { stateDir, pid } });
    }
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }
}

function ownerOf(database: DatabaseSync): number | undefined {
  try {
    return Number(database.prepare("SELECT pid FROM owner").get()?.pid);
  } catch {
    return undefined;
  }
}
