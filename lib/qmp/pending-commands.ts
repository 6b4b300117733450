import { newId, VmSubstrateError } from "../core/index.ts";
import { BadJsonError } from "./json-line.ts";
import { MAX_ABANDONED_COMMANDS } from "./limits.ts";
import { shownText } from "./untrusted-text.ts";

interface PendingCommand {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Commands that wait for their reply, by id, and the ids of those that were given up on. */
export class PendingCommands {
  /** QEMU may answer a command of the client before us on this socket: its ids must not be ours. */
  readonly #prefix = newId();
  readonly #pending = new Map<string, PendingCommand>();
  /** A late reply to one of these is no protocol error. Insertion order; the oldest goes first. */
  readonly #abandoned = new Set<string>();
  #issued = 0;

  get size(): number {
    return this.#pending.size;
  }

  /** Whether the id was given out here, at any time. */
  isOurs(id: unknown): boolean {
    return typeof id === "string" && id.startsWith(`${this.#prefix}-`);
  }

  add(command: string): { id: string; reply: Promise<unknown> } {
    const id = `${this.#prefix}-${++this.#issued}`;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    // It may be rejected before the caller awaits it.
    promise.catch(() => {});
    this.#pending.set(id, { command, resolve, reject });
    return { id, reply: promise };
  }

  /** @throws BadJsonError when nobody waits for that id */
  resolve(id: unknown, value: unknown): void {
    this.#take(id)?.resolve(value);
  }

  /**
   * QEMU's error becomes QMP_COMMAND_FAILED.
   *
   * @throws BadJsonError when nobody waits for that id
   */
  fail(id: unknown, errorClass: string, desc: string): void {
    const pending = this.#take(id);
    if (!pending) return;
    const details = { command: pending.command, class: shownText(errorClass), desc: shownText(desc) };
    pending.reject(
      new VmSubstrateError("QMP_COMMAND_FAILED", `QMP command ${pending.command}: ${details.class}: ${details.desc}`, {
        details,
      }),
    );
  }

  /** The command could not be sent. */
  reject(id: string, error: unknown): void {
    this.#pending.get(id)?.reject(error);
  }

  /** The caller no longer waits. Does nothing when the reply has come. */
  abandon(id: string): void {
    if (!this.#pending.delete(id)) return;
    this.#abandoned.add(id);
    if (this.#abandoned.size > MAX_ABANDONED_COMMANDS) {
      const [oldest] = this.#abandoned;
      if (oldest !== undefined) this.#abandoned.delete(oldest);
    }
  }

  rejectAll(error: unknown): void {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    this.#abandoned.clear();
    for (const { reject } of all) reject(error);
  }

  #take(id: unknown): PendingCommand | undefined {
    if (typeof id !== "string") throw new BadJsonError("a reply without an id of ours");
    const pending = this.#pending.get(id);
    if (!pending && !this.#abandoned.delete(id)) throw new BadJsonError("a reply to no pending command");
    this.#pending.delete(id);
    return pending;
  }
}
