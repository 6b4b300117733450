import { z } from "zod";
import { bytes, count, milliseconds } from "./common.ts";

/** How many seconds are kept. */
export const STATS_SECONDS = 600;

/** What happened within one second. */
export const secondSchema = z
  .object({
    at: z.int().describe("Unix time, seconds."),
    claims: count.describe("VMs that were handed out."),
    failures: count.describe("VMs that were not."),
    p50Ms: milliseconds.nullable().describe("Of the activations that ended within it."),
    p95Ms: milliseconds.nullable(),
    p99Ms: milliseconds.nullable(),
    vms: count,
    ready: count.describe("Docked clones."),
    memoryBytes: bytes,
  })
  .meta({ id: "Second" });
export type Second = Readonly<z.infer<typeof secondSchema>>;

export const statsSchema = z.object({ seconds: z.array(secondSchema) }).meta({ id: "Stats" });
