import { z } from "zod";
import { MIB, validate } from "../core/index.ts";

/** 30 days. */
const DEFAULT_CACHE_UNUSED_MS = 2_592_000_000;

export interface GcOptions {
  /** What builds keep for later ones is removed when none has needed it for so long, in milliseconds. Default 30 days; 0 for all. */
  readonly cacheUnusedForMs?: number | undefined;
  /** And the longest unused of the rest, until it takes no more than that. Default: as much as there is. */
  readonly cacheMaxMiB?: number | undefined;
}

const gcOptionsSchema = z.strictObject({
  cacheUnusedForMs: z.int().min(0).default(DEFAULT_CACHE_UNUSED_MS),
  cacheMaxMiB: z.int().min(0).optional(),
});

export interface GcCall {
  readonly unusedForMs: number;
  readonly maxBytes: number;
}

/** @throws VmSubstrateError INVALID_ARGUMENT */
export function gcCall(options: GcOptions): GcCall {
  const { cacheUnusedForMs, cacheMaxMiB } = validate(gcOptionsSchema, options, "gc");
  const maxBytes = cacheMaxMiB === undefined ? Number.POSITIVE_INFINITY : cacheMaxMiB * MIB;
  return { unusedForMs: cacheUnusedForMs, maxBytes };
}
