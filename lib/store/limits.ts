import { MIB } from "../core/index.ts";

/**
 * Every bound and default of this folder. docs/LIMITS.md lists them. The bounds of transactions hold the largest activation
 * (1024 VMs) with all its leases; etcd has to be started for them, by --max-txn-ops=8192 --max-request-bytes=8388608.
 */

/** Length of a key, and of a prefix. */
export const MAX_KEY_CHARS = 512;
/** All keys and values of one transaction together, so that a value has at most this, too. */
export const MAX_TRANSACTION_BYTES = 8 * MIB;
/** Writes of one transaction. */
export const MAX_TRANSACTION_WRITES = 8_192;
/** Comparisons of one transaction. */
export const MAX_TRANSACTION_COMPARES = 8_192;

/** Shorter leases would end whenever their holder is busy for a moment. */
export const MIN_LEASE_TTL_MS = 1_000;
export const MAX_LEASE_TTL_MS = 86_400_000;

/** Changes kept for watches that begin in the past, or are slow. */
export const DEFAULT_HISTORY_LENGTH = 10_000;
export const MAX_HISTORY_LENGTH = 100_000;
/** Characters of keys and values in those changes: what they take in memory. */
export const MAX_HISTORY_CHARS = 16 * MIB;

/** Operations that may wait for a commit. */
export const MAX_QUEUED_OPERATIONS = 16_384;
/** Operations that share one commit; the rest follows in the next turn of the event loop. */
export const MAX_GROUP_OPERATIONS = 1_024;

/** Bytes in the write-ahead log, by estimate, at which they are copied to the database. */
export const DEFAULT_CHECKPOINT_BYTES = 4 * MIB;
/** What an emptied write-ahead log keeps of its file, so that the next commits need not make it grow. */
export const MAX_IDLE_LOG_BYTES = 16 * MIB;
