import { type Forkable, newClonePlan, Zygote, type ZygoteSource } from "../clone/index.ts";
import { type Logger, messageOf } from "../core/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { Memory } from "./memory.ts";
import type { Room } from "./room.ts";
import { isShortage } from "./waiting-line.ts";

/** A zygote takes the memory of a clone: it is made only where there is room for so many besides. */
const SPARE_CLONES = 4;
/** One clone alone does not pay for a zygote. */
const WANTED_BY_CLONES = 2;
/** Of one substrate. After that its clones are loaded one by one, until it is loaded anew. */
const MAX_FAILURES = 3;
/** By which they are known in `ps` and in folders. */
const PREFIX = "zygote-";

type Names = ReturnType<typeof newClonePlan>;

export interface ZygoteDependencies {
  /** Makes one, and by the other names a clone of it on trial; undefined where there are none. */
  readonly make:
    | ((names: readonly [Names, Names], substrate: LoadedSubstrate, signal: AbortSignal) => Promise<Zygote>)
    | undefined;
  readonly memory: Pick<Memory, "track" | "forget">;
  readonly room: Pick<Room, "reserve">;
  /** Ids that something of this process works with. */
  readonly working: Set<string>;
  /** Resolves when no claim is under way. */
  readonly idle: () => Promise<void>;
  readonly logger: Logger;
}

interface Entry {
  wantedBy: number;
  failures: number;
  making: Promise<void> | undefined;
  /** It, and what ends it and all that is held for it. */
  living: { readonly zygote: Zygote; readonly owned: AsyncDisposable } | undefined;
}

/**
 * The zygotes of a pool, one for each substrate in memory that clones are made of. They are an optimisation and never a reason to
 * fail: where there is none, a clone loads its substrate.
 */
export class Zygotes implements ZygoteSource, AsyncDisposable {
  readonly #deps: ZygoteDependencies;
  readonly #entries = new Map<LoadedSubstrate, Entry>();
  readonly #closing = new AbortController();

  constructor(deps: ZygoteDependencies) {
    this.#deps = deps;
  }

  of(substrate: LoadedSubstrate): Zygote | undefined {
    const entry = this.#entry(substrate);
    if (entry === undefined || entry.living !== undefined) return entry?.living?.zygote;
    entry.wantedBy++;
    // Off the activation path; once, however many ask meanwhile.
    if (entry.wantedBy === WANTED_BY_CLONES) void this.#deps.idle().then(() => this.#make(substrate, entry));
    return undefined;
  }

  /**
   * Resolves when there is one, or there will be none: for who is about to make many clones. It is made only where these have room
   * beside it.
   * @throws the signal's reason
   */
  async prepare(substrate: LoadedSubstrate, clones: number, signal: AbortSignal): Promise<void> {
    const entry = this.#entry(substrate);
    if (entry === undefined || entry.living !== undefined) return;
    signal.throwIfAborted();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([this.#make(substrate, entry, clones), aborted]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  failed(zygote: Forkable, error: unknown): void {
    this.#lost(zygote, messageOf(error));
  }

  /** Ends them all. What was forked from them runs on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#entries.keys()].map((substrate) => this.#end(substrate)));
  }

  #entry(substrate: LoadedSubstrate): Entry | undefined {
    const { make } = this.#deps;
    if (make === undefined || this.#closing.signal.aborted || !Zygote.isPossible(substrate)) return undefined;
    const known = this.#entries.get(substrate);
    if (known !== undefined) return known;
    const entry: Entry = { wantedBy: 0, failures: 0, making: undefined, living: undefined };
    this.#entries.set(substrate, entry);
    substrate.endBefore({ [Symbol.asyncDispose]: () => this.#end(substrate) });
    return entry;
  }

  /** Never rejects. */
  #make(substrate: LoadedSubstrate, entry: Entry, clones = SPARE_CLONES): Promise<void> {
    const isWanted = this.#entries.get(substrate) === entry && entry.living === undefined;
    if (!isWanted || entry.failures >= MAX_FAILURES) return Promise.resolve();
    entry.making ??= (async () => {
      try {
        await this.#attempt(substrate, entry, clones);
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        entry.wantedBy = 0;
        if (!isShortage(error)) entry.failures++; // of memory there may be more later
        this.#deps.logger.info({ reason: messageOf(error) }, "no zygote: each clone loads its substrate");
      } finally {
        entry.making = undefined;
      }
    })();
    return entry.making;
  }

  async #attempt(substrate: LoadedSubstrate, entry: Entry, clones: number): Promise<void> {
    const { make, room, memory, working } = this.#deps;
    const { signal } = this.#closing;
    signal.throwIfAborted();
    if (make === undefined) return;
    const purpose = "a zygote and clones of it";
    (await room.reserve(1 + Math.max(SPARE_CLONES, clones), purpose))[Symbol.dispose]();
    using _ = await room.reserve(2, purpose); // with the one on trial
    await using undo = new AsyncDisposableStack();
    const names = [newNames(), newNames()] as const;
    for (const { id } of names) {
      working.add(id);
      undo.defer(() => void working.delete(id));
    }
    const zygote = undo.use(await make(names, substrate, signal));
    const [{ id }] = names;
    memory.track(id, zygote.pid);
    undo.defer(() => memory.forget(id));
    signal.throwIfAborted();
    entry.living = { zygote, owned: undo.move() };
    void zygote.ended.then(() => this.#lost(zygote, "its process has ended"));
  }

  /** Nothing is to be forked from it any more. The next clone may have another one made. */
  #lost(zygote: Forkable, reason: string): void {
    for (const entry of this.#entries.values()) {
      const { living } = entry;
      if (living?.zygote !== zygote) continue;
      entry.living = undefined;
      entry.wantedBy = 0;
      entry.failures++;
      this.#deps.logger.warn({ reason }, "a zygote was lost; clones are loaded");
      entry.making = ended(living.owned).then(() => {
        entry.making = undefined;
      });
    }
  }

  async #end(substrate: LoadedSubstrate): Promise<void> {
    const entry = this.#entries.get(substrate);
    this.#entries.delete(substrate);
    await entry?.making;
    const living = entry?.living;
    if (entry !== undefined) entry.living = undefined; // its end is no loss
    await living?.owned[Symbol.asyncDispose]();
  }
}

/** What cannot be removed is found by the next collection. */
async function ended(owned: AsyncDisposable): Promise<void> {
  try {
    await owned[Symbol.asyncDispose]();
  } catch {}
}

function newNames(): Names {
  const { id, uuid } = newClonePlan();
  return { id: PREFIX + id.slice(PREFIX.length), uuid }; // as long as any other: sockets have short paths
}
