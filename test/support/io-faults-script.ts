import type { Entry, StoreLease, Transaction } from "../../lib/store/index.ts";
import { Model } from "./store-model.ts";

/** What is requested of a store at once: transactions in one turn, or the only lease, or its end. */
export type FaultStep = readonly Transaction[] | "grant" | "revoke";

export interface State {
  readonly entries: readonly Entry[];
  readonly revision: number;
}

/** Small enough that the log is copied to the database several times on the way. */
export const CHECKPOINT_BYTES = 60_000;
export const LEASE: StoreLease = { id: "lease-1", epoch: 1, ttlMs: 3_600_000 };

/** Each transaction touches several keys: some of them new, some old, some of all transactions, some larger than a page. */
export const STEPS: readonly FaultStep[] = [
  [transaction(1)],
  [transaction(2), transaction(3)],
  "grant",
  [transaction(4, LEASE.id)],
  [transaction(5)],
  [transaction(6, LEASE.id), transaction(7), transaction(8)],
  [transaction(9)],
  "revoke",
  [transaction(10)],
  [transaction(11), transaction(12)],
];

function transaction(n: number, leaseId?: string): Transaction {
  return {
    writes: [
      { put: "all/last", value: `${n}` },
      { put: `own/${n}`, value: `${n}`.repeat(n % 4 === 0 ? 5_000 : 20), leaseId },
      { put: `shared/${n % 3}`, value: `${n}`, leaseId: n % 3 === 0 ? leaseId : undefined },
      { delete: `own/${n - 2}` },
    ],
  };
}

/** What the store holds before the first operation, and after each: the first, second and so on of all steps. */
export function expectedStates(): State[] {
  const model = new Model(0);
  const states = [stateOf(model)];
  for (const operation of STEPS.flat()) {
    if (operation === "grant") model.start(LEASE);
    else if (operation === "revoke") model.end(LEASE.id);
    else model.transact(operation);
    states.push(stateOf(model));
  }
  return states;
}

function stateOf(model: Model): State {
  return { entries: model.list(""), revision: model.revision };
}
