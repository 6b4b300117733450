export { EmbeddedStore, type EmbeddedStoreOptions } from "./embedded-store.ts";
export { OwnerLock } from "./owner-lock.ts";
export { SharedLock } from "./shared-lock.ts";
export type {
  Change,
  Compare,
  Entry,
  Listing,
  Store,
  StoreLease,
  Transaction,
  TransactionResult,
  WatchOptions,
  Write,
} from "./store.ts";
