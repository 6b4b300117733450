/**
 * Durable state, as both an embedded database and etcd can hold it: text under keys, transactions that compare before
 * they write, leases whose keys go with them, watches. Revisions and comparisons are those of etcd's v3 API
 * (etcd.io/docs/latest/learning/api); one conformance suite runs against every implementation.
 */
export interface Store extends AsyncDisposable {
  /** @throws VmSubstrateError INVALID_ARGUMENT, STORE_CLOSED, STATE_DIR_DAMAGED when it cannot be read */
  get(key: string): Promise<Entry | undefined>;

  /** All entries whose key begins with `prefix`, by key, as they were at one revision. @throws VmSubstrateError as `get` */
  list(prefix: string): Promise<Listing>;

  /**
   * Writes all or nothing, and only if every comparison holds. Durable when it resolves.
   *
   * @throws VmSubstrateError INVALID_ARGUMENT, STORE_CLOSED, STORE_LEASE_EXPIRED when a write names a lease that is gone,
   *   STORE_UNWRITABLE: whether it was written is known only after reopening, and nothing more is written until then
   */
  transact(transaction: Transaction): Promise<TransactionResult>;

  /** A lease that ends `ttlMs` after its last renewal, and takes its keys with it. @throws VmSubstrateError as `transact` */
  grantLease(ttlMs: number): Promise<StoreLease>;

  /** Gives a lease its full time again. @throws VmSubstrateError STORE_LEASE_EXPIRED, as `transact` */
  renewLease(id: string): Promise<StoreLease>;

  /** Ends a lease and its keys now, in one revision. Idempotent. @throws VmSubstrateError as `transact` */
  revokeLease(id: string): Promise<void>;

  /**
   * Every change below `prefix` after a revision, in order, none twice. Without one: every change from now on.
   *
   * @throws VmSubstrateError STORE_COMPACTED when changes since then are no longer kept: list again; ABORTED,
   *   STORE_CLOSED, INVALID_ARGUMENT
   */
  watch(prefix: string, options?: WatchOptions): AsyncIterable<Change>;
}

export interface Entry {
  /** 1 to 512 printable ASCII characters without space. Parts are divided by "/", by custom. */
  readonly key: string;
  readonly value: string;
  /** The store's revision at the entry's last change. */
  readonly revision: number;
  readonly leaseId: string | undefined;
}

export interface Listing {
  readonly entries: readonly Entry[];
  /** The store's revision at which the listing was true: a watch that begins after it misses nothing. */
  readonly revision: number;
}

/** A condition on one key. `revision` is that of its last change, 0 when there is no such key. */
export interface Compare {
  readonly key: string;
  readonly revision: number;
}

export type Write =
  | { readonly put: string; readonly value: string; readonly leaseId?: string | undefined }
  | { readonly delete: string };

export interface Transaction {
  readonly compare?: readonly Compare[] | undefined;
  /** At most one for a key, and 8192 with 8 MiB of keys and values altogether. */
  readonly writes: readonly Write[];
}

export interface TransactionResult {
  /** False when a comparison did not hold: nothing was written. */
  readonly committed: boolean;
  /**
   * The store's revision afterwards. Every transaction that changes something makes it grow by one; a key that is deleted
   * without being there is no change.
   */
  readonly revision: number;
}

export interface StoreLease {
  readonly id: string;
  /** Grows with every lease that is granted: the newest holder of something has the greatest (a fencing token). */
  readonly epoch: number;
  readonly ttlMs: number;
}

export interface WatchOptions {
  readonly afterRevision?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Change {
  readonly revision: number;
  readonly key: string;
  /** Undefined when the key was deleted. */
  readonly entry: Entry | undefined;
}
