import { isVmSubstrateError } from "../core/index.ts";
import type { Compare, Store, Transaction, Write } from "../store/index.ts";

/**
 * A change of durable state that is decided and, in this process's memory, kept from everybody else, but not yet durable.
 * Its comparisons and writes go into one transaction, whole, beside whatever else must happen in the same instant; then it
 * is confirmed or cancelled. Of both, and of several calls, the first counts.
 *
 * When it is unknown whether the transaction was carried out, neither is right: what it touches stays kept from everybody
 * until the store is opened again.
 */
export interface Change {
  readonly compare: readonly Compare[];
  readonly writes: readonly Write[];
  /** @param revision of the transaction, by which the next change of the same keys is compared */
  confirm(revision: number): void;
  cancel(): void;
}

/** Errors of a store with which nothing was written for certain. */
const UNWRITTEN = ["INVALID_ARGUMENT", "STORE_LEASE_EXPIRED"] as const;

/**
 * Makes changes durable in one transaction, together with `own`. False when a comparison did not hold: all are cancelled.
 *
 * @throws VmSubstrateError as Store.transact
 */
export async function commit(
  store: Store,
  changes: readonly Change[],
  own: Transaction = { writes: [] },
): Promise<boolean> {
  const cancelAll = () => {
    for (const change of changes) change.cancel();
  };
  try {
    const { committed, revision } = await store.transact({
      compare: [...changes.flatMap(({ compare }) => compare), ...(own.compare ?? [])],
      writes: [...changes.flatMap(({ writes }) => writes), ...own.writes],
    });
    if (committed) for (const change of changes) change.confirm(revision);
    else cancelAll();
    return committed;
  } catch (error) {
    if (UNWRITTEN.some((code) => isVmSubstrateError(error, code))) cancelAll();
    throw error;
  }
}
