import { createHash } from "node:crypto";
import type { OperationView } from "../api/index.ts";
import { isVmSubstrateError, VmSubstrateError } from "../lib/index.ts";
import { problemOf } from "./problem.ts";

/** Ended operations are told about for so long, and so many of them. */
const KEEP_MS = 3_600_000;
const MAX_ENDED = 1000;
/** More at a time are refused: each is work of this machine. */
const MAX_RUNNING = 256;

export interface Work<Result> {
  readonly id: string;
  readonly kind: string;
  /** The same key and the same request are the same operation. */
  readonly key?: string | undefined;
  /** What was asked for, to tell a key that is used twice. */
  readonly request?: unknown;
  run(signal: AbortSignal, report: (progress: object) => void): Promise<Result>;
}

/** One piece of work that goes on whether or not its client listens. */
export class Operation<Result = unknown> {
  readonly id: string;
  readonly kind: string;
  readonly createdAt = new Date();
  /** Settles when the work is over; never unhandled. */
  readonly result: Promise<Result>;
  readonly #cancelling = new AbortController();
  #state: OperationView["state"] = "running";
  #endedAt: Date | undefined;
  #progress: object | undefined;
  #value: Result | undefined;
  #error: unknown;

  constructor(work: Work<Result>, onChange: (operation: Operation) => void) {
    this.id = work.id;
    this.kind = work.kind;
    const report = (progress: object) => {
      if (this.#state !== "running") return;
      this.#progress = progress;
      onChange(this);
    };
    this.result = (async () => {
      try {
        this.#value = await work.run(this.#cancelling.signal, report);
        this.#state = "succeeded";
        return this.#value;
      } catch (error) {
        this.#error = error;
        this.#state = isVmSubstrateError(error, "ABORTED") && this.#cancelling.signal.aborted ? "cancelled" : "failed";
        throw error;
      } finally {
        this.#endedAt = new Date();
        onChange(this);
      }
    })();
    this.result.catch(() => {});
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  get endedAt(): Date | undefined {
    return this.#endedAt;
  }

  cancel(): void {
    this.#cancelling.abort(new VmSubstrateError("ABORTED", `operation ${this.id} was cancelled`));
  }

  /** Resolves when it is over, or after `ms`, or when the signal fires. @returns whether it is over */
  async over(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.isRunning) return true;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    const onAbort = () => resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) resolve();
    await Promise.race([this.result.catch(() => {}), late]);
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    return !this.isRunning;
  }

  view(): OperationView {
    return {
      id: this.id,
      kind: this.kind,
      state: this.#state,
      createdAt: this.createdAt.toISOString(),
      endedAt: this.#endedAt?.toISOString() ?? null,
      progress: this.#progress === undefined ? null : { ...this.#progress },
      result: this.#value ?? null,
      error: this.#error === undefined ? null : problemOf(this.#error, this.id),
    };
  }
}

/** All work that was asked for: under way, and ended not long ago. */
export class Operations {
  readonly #operations = new Map<string, Operation>();
  readonly #keys = new Map<string, { readonly digest: string; readonly operation: Operation }>();
  readonly #onChange: (operation: Operation) => void;
  #isDraining = false;

  constructor(onChange: (operation: Operation) => void) {
    this.#onChange = onChange;
  }

  /** From the newest to the oldest. */
  get all(): Operation[] {
    return [...this.#operations.values()].toReversed();
  }

  get(id: string): Operation | undefined {
    return this.#operations.get(id);
  }

  /** @throws VmSubstrateError RATE_LIMITED, IDEMPOTENCY_KEY_USED, POOL_CLOSED, REQUEST_REFUSED for an id that is taken */
  start<Result>(work: Work<Result>): Operation<Result> {
    this.#forgetOld();
    const { id, kind, key, request } = work;
    const digest = createHash("sha256")
      .update(JSON.stringify([kind, request ?? null]))
      .digest("hex");
    const known = key === undefined ? undefined : this.#keys.get(key);
    if (known !== undefined) {
      if (known.digest === digest) return known.operation as Operation<Result>;
      const message = `idempotency key ${JSON.stringify(key)} belongs to another request; choose a new key`;
      throw new VmSubstrateError("IDEMPOTENCY_KEY_USED", message);
    }
    if (this.#isDraining) throw new VmSubstrateError("POOL_CLOSED", "the daemon is stopping; ask the next one");
    if (this.#operations.has(id)) {
      throw new VmSubstrateError("REQUEST_REFUSED", `there is an operation ${id} already`, {
        details: { status: 409 },
      });
    }
    if (this.#running().length >= MAX_RUNNING) {
      throw new VmSubstrateError(
        "RATE_LIMITED",
        `${MAX_RUNNING} operations are under way; try again when one has ended`,
      );
    }
    const operation = new Operation(work, this.#onChange);
    this.#operations.set(id, operation);
    this.#onChange(operation);
    if (key !== undefined) {
      this.#keys.set(key, { digest, operation });
      // Who tries again after a failure wants it done.
      operation.result.catch(() => this.#keys.delete(key));
    }
    return operation;
  }

  /** Waits for what is under way, and cancels what takes longer. Nothing is begun any more. */
  async drain(graceMs: number): Promise<void> {
    this.#isDraining = true;
    const running = this.#running();
    const signal = AbortSignal.timeout(graceMs);
    await Promise.all(running.map((operation) => operation.over(graceMs, signal)));
    for (const operation of running) operation.cancel();
    await Promise.allSettled(running.map(({ result }) => result));
  }

  #running(): Operation[] {
    return [...this.#operations.values()].filter(({ isRunning }) => isRunning);
  }

  #forgetOld(): void {
    const ended = [...this.#operations.values()].filter(({ isRunning }) => !isRunning);
    const tooMany = ended.slice(0, Math.max(0, ended.length - MAX_ENDED));
    const old = ended.filter(({ endedAt }) => Date.now() - (endedAt?.getTime() ?? 0) > KEEP_MS);
    const forgotten = new Set([...tooMany, ...old]);
    for (const { id } of forgotten) this.#operations.delete(id);
    for (const [key, { operation }] of this.#keys) if (forgotten.has(operation)) this.#keys.delete(key);
  }
}
