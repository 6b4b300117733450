import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, throwIfAborted, VmSubstrateError } from "../core/index.ts";
import { isBusy } from "./sqlite-busy.ts";

const LOCK_POLL_MS = 20;

export interface AcquireOptions {
  /** For messages: what waits. */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * A lock on something that many processes use and one at a time changes. It is SQLite's on a file that stays empty, and is held
 * for as long as this object lives: the kernel drops it when the process ends, however it ends.
 */
export class SharedLock implements Disposable {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /**
   * Does not wait.
   *
   * @param mode `shared` with others of that kind, or `exclusive`
   * @returns undefined while others hold it in a way that does not go with this one
   * @throws VmSubstrateError STATE_DIR_DAMAGED
   */
  static tryAcquire(file: string, mode: "shared" | "exclusive"): SharedLock | undefined {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(file);
      database.exec(mode === "exclusive" ? "BEGIN EXCLUSIVE" : "BEGIN");
      if (mode === "shared") database.prepare("SELECT count(*) FROM sqlite_schema").get(); // now it is locked, and not before
      return new SharedLock(database);
    } catch (cause) {
      database?.close();
      if (isBusy(cause)) return undefined;
      const message = `${file} cannot be used as a lock (${messageOf(cause)}); remove it if nothing is built`;
      throw new VmSubstrateError("STATE_DIR_DAMAGED", message, { cause, details: { file } });
    }
  }

  /**
   * Waits until it can be had.
   * @throws VmSubstrateError TIMEOUT, ABORTED, STATE_DIR_DAMAGED
   */
  static async acquire(
    file: string,
    mode: "shared" | "exclusive",
    { what, timeoutMs, signal }: AcquireOptions,
  ): Promise<SharedLock> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      throwIfAborted(signal, what);
      const lock = SharedLock.tryAcquire(file, mode);
      if (lock !== undefined) return lock;
      if (performance.now() > deadline) {
        const message = `${what}: another process has kept ${file} for ${timeoutMs} ms; is it stopped?`;
        throw new VmSubstrateError("TIMEOUT", message, { details: { timeoutMs } });
      }
      await delay(LOCK_POLL_MS);
    }
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }
}
