import { createHash } from "node:crypto";
import { z } from "zod";
import { ERROR_CODES, type ErrorCode, VmSubstrateError } from "../core/index.ts";
import type { Store, Write } from "../store/index.ts";
import type { ActivateSpec } from "./options.ts";

const PREFIX = "requests/";
/** How long a key is remembered after its call: a client that repeats a call later than this makes another. */
const RETENTION_MS = 86_400_000;

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the table's keys are the codes
const errorCodes = Object.keys(ERROR_CODES) as ErrorCode[];

/** What a call made, in order: the id of a VM, or why there is none. */
const madeSchema = z.union([z.string(), z.strictObject({ code: z.enum(errorCodes), message: z.string() })]);
export type Made = Readonly<z.infer<typeof madeSchema>>;

const requestSchema = z.strictObject({
  /** Of the call's arguments: a key that is used for another call is a mistake. */
  digest: z.string(),
  made: z.array(madeSchema),
  done: z.boolean(),
  createdAt: z.iso.datetime(),
});
type Request = z.infer<typeof requestSchema>;

/** What becomes of a call that was made before. */
export interface Repeated<T> {
  /** The first one is under way. */
  readonly join: (result: Promise<T>) => Promise<T>;
  /** It is over. */
  readonly again: (made: readonly Made[]) => T;
}

/** Calls by their idempotency key: a call that is repeated, by a client that did not hear the answer, makes nothing twice. */
export class Requests {
  readonly #requests = new Map<string, Request>();
  readonly #underWay = new Map<string, { readonly digest: string; readonly result: Promise<unknown> }>();

  /** Forgets what an owner that died had begun: recovery takes all of that away. */
  static async open(store: Store): Promise<Requests> {
    const requests = new Requests();
    const { entries } = await store.list(PREFIX);
    const writes: Write[] = [];
    for (const { key, value } of entries) {
      const request = requestSchema.safeParse(JSON.parse(value)).data;
      if (request === undefined || !request.done || isOld(request)) writes.push({ delete: key });
      else requests.#requests.set(key.slice(PREFIX.length), request);
    }
    if (writes.length > 0) await store.transact({ writes });
    return requests;
  }

  /**
   * Runs a call once for its key. Repeated while it runs, the calls share its result; repeated after it, `again` makes the
   * result of what it had made.
   *
   * @throws VmSubstrateError IDEMPOTENCY_KEY_USED for a key of another call; what `run` and `repeated` throw
   */
  async once<T>(key: string, digest: string, run: () => Promise<T>, repeated: Repeated<T>): Promise<T> {
    const known = this.#underWay.get(key) ?? this.#requests.get(key);
    if (known !== undefined) {
      if (known.digest !== digest) throw used(key, "belongs to a call with other arguments");
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the digest says that it was the same call
      return "result" in known ? repeated.join(known.result as Promise<T>) : repeated.again(known.made);
    }
    const result = Promise.resolve().then(run); // not before its digest is known here
    this.#underWay.set(key, { digest, result });
    try {
      return await result;
    } finally {
      this.#underWay.delete(key);
    }
  }

  /** To be written with the records of what the call is about to make. */
  begun(key: string | undefined, ids: readonly string[]): Write[] {
    return this.#put(key, ids, false);
  }

  /** To be written with the records of what the call hands out. */
  done(key: string | undefined, made: readonly Made[]): Write[] {
    return [...this.#put(key, made, true), ...this.#prune()];
  }

  /** To be written with the end of what a failed call had begun: its key is free again. */
  undone(key: string | undefined): Write[] {
    if (key === undefined || !this.#requests.delete(key)) return [];
    return [{ delete: `${PREFIX}${key}` }];
  }

  #put(key: string | undefined, made: readonly Made[], done: boolean): Write[] {
    if (key === undefined) return [];
    const digest = this.#underWay.get(key)?.digest ?? "";
    const request: Request = { digest, made: [...made], done, createdAt: new Date().toISOString() };
    this.#requests.set(key, request);
    return [{ put: `${PREFIX}${key}`, value: JSON.stringify(request) }];
  }

  #prune(): Write[] {
    const old = [...this.#requests].filter(([, request]) => isOld(request)).map(([key]) => key);
    for (const key of old) this.#requests.delete(key);
    return old.map((key) => ({ delete: `${PREFIX}${key}` }));
  }
}

function isOld({ createdAt }: Request): boolean {
  return Date.now() - Date.parse(createdAt) > RETENTION_MS;
}

/** Of what is asked for. Neither the order of a specification's fields nor how long its caller waits makes it another call. */
export function callDigest(what: string, mode: string, count: number, spec: ActivateSpec): string {
  const { timeoutMs: _timeoutMs, wait: _wait, ...asked } = spec;
  const hash = createHash("sha256");
  return hash.update(JSON.stringify([what, mode, count, asked], inOneForm)).digest("hex");
}

/** For `JSON.stringify`: fields by name, and bytes by their digest. */
function inOneForm(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return createHash("sha256").update(value).digest("hex");
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** @param why continues "idempotency key X ..." */
export function used(key: string, why: string): VmSubstrateError {
  const message = `idempotency key ${JSON.stringify(key)} ${why}; choose a new key for a new call`;
  return new VmSubstrateError("IDEMPOTENCY_KEY_USED", message, { details: { key } });
}
