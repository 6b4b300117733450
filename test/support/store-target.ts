import { onTestFinished } from "vitest";
import type { Change, Store, Write } from "../../lib/store/index.ts";

/** A store that is empty at first, and belongs to one test alone. */
export interface StoreTarget extends AsyncDisposable {
  readonly store: Store;
  /** Closes the store and opens another one with the same contents. */
  reopen(): Promise<Store>;
  /** Returns when at least this time has passed for leases, and those that are due have ended. */
  advance(ms: number): Promise<void>;
}

export type OpenTarget = () => Promise<StoreTarget>;

/** A target that is disposed of with the test. */
export async function start(open: OpenTarget) {
  const target = await open();
  onTestFinished(() => target[Symbol.asyncDispose]());
  return {
    store: target.store,
    reopen: () => target.reopen(),
    advance: (ms: number) => target.advance(ms),
  };
}

export async function startStore(open: OpenTarget): Promise<Store> {
  return (await start(open)).store;
}

/** Puts of the given keys, each with its key as the value. */
export function puts(...keys: string[]): Extract<Write, { put: string }>[] {
  return keys.map((key) => ({ put: key, value: key.slice(0, 8) }));
}

export function within(leaseId: string): (write: Extract<Write, { put: string }>) => Write {
  return (write) => ({ ...write, leaseId });
}

export async function keysOf(store: Store, prefix = ""): Promise<string[]> {
  return (await store.list(prefix)).entries.map(({ key }) => key);
}

/** The first changes of a watch, which is then ended. */
export async function collect(watch: AsyncIterable<Change>, count: number): Promise<Change[]> {
  const changes: Change[] = [];
  for await (const change of watch) if (changes.push(change) === count) break;
  return changes;
}
