import { z } from "zod";
import { signalSchema } from "../core/index.ts";
import {
  MAX_KEY_CHARS,
  MAX_LEASE_TTL_MS,
  MAX_TRANSACTION_BYTES,
  MAX_TRANSACTION_COMPARES,
  MAX_TRANSACTION_WRITES,
  MIN_LEASE_TTL_MS,
} from "./limits.ts";
import type { Write } from "./store.ts";

/** What callers may give to a store of any kind. */

export const keySchema = z
  .string()
  .regex(/^[!-~]+$/, "expected printable ASCII characters without space")
  .max(MAX_KEY_CHARS);

export const prefixSchema = z
  .string()
  .regex(/^[!-~]*$/, "expected printable ASCII characters without space")
  .max(MAX_KEY_CHARS);

export const ttlSchema = z.int().min(MIN_LEASE_TTL_MS).max(MAX_LEASE_TTL_MS);

const revision = z.int().nonnegative();
// Half a surrogate pair has no form in UTF-8: what is read back would be another text.
const value = z.string().refine((text) => text.isWellFormed(), "expected well-formed Unicode text");

const write = z.union(
  [
    z.strictObject({ put: keySchema, value, leaseId: z.string().optional() }),
    z.strictObject({ delete: keySchema }),
  ] as const,
  "expected { put, value, leaseId? } or { delete }, with a key of 1 to 512 printable ASCII characters without space",
);

export const transactionSchema = z.strictObject({
  compare: z
    .array(z.strictObject({ key: keySchema, revision }))
    .max(MAX_TRANSACTION_COMPARES)
    .default([]),
  writes: z
    .array(write)
    .max(MAX_TRANSACTION_WRITES)
    .refine((writes) => new Set(writes.map(keyOf)).size === writes.length, "expected at most one write for a key")
    .refine(
      (writes) => sizeOf(writes) <= MAX_TRANSACTION_BYTES,
      `expected at most ${MAX_TRANSACTION_BYTES} bytes of keys and values`,
    ),
});

export const watchOptionsSchema = z.strictObject({
  afterRevision: revision.optional(),
  signal: signalSchema.optional(),
});

function keyOf(one: Write): string {
  return "put" in one ? one.put : one.delete;
}

function sizeOf(writes: readonly Write[]): number {
  return writes.reduce((sum, one) => sum + keyOf(one).length + ("put" in one ? Buffer.byteLength(one.value) : 0), 0);
}
