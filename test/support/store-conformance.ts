import { describeStoreAgainstModel, type ModelOptions } from "./store-against-model.ts";
import { describeLeases } from "./store-conformance-leases.ts";
import { describeTransactions } from "./store-conformance-transactions.ts";
import { describeWatches } from "./store-conformance-watches.ts";
import type { OpenTarget } from "./store-target.ts";

/** What every store must do, the embedded one and etcd alike; each test gets a target of its own. */
export function storeConformance(name: string, open: OpenTarget, options: ModelOptions = {}): void {
  describeTransactions(name, open);
  describeLeases(name, open);
  describeWatches(name, open);
  describeStoreAgainstModel(name, open, options);
}
