import { z } from "zod";
import { count } from "./common.ts";

export const dockSchema = z
  .object({
    substrate: z.string(),
    version: z.int(),
    pinned: z.boolean(),
    primed: z.boolean(),
    ready: count.describe("Clones that can be claimed now."),
    starting: count,
    target: count.describe("How many are to be ready, between min and max, following the claims of the last seconds."),
    min: count,
    max: count,
    maxMiB: z.number().nullable(),
    memoryMiB: z.number().nullable().describe("What the waiting clones take, Pss."),
    failures: count.describe("Failed starts in a row."),
    breaker: z.enum(["closed", "open", "half-open"]),
    lastError: z.string().nullable(),
  })
  .meta({ id: "Dock", description: "The clones that are kept ready of one substrate." });
export type DockView = Readonly<z.infer<typeof dockSchema>>;

export const dockBodySchema = z
  .strictObject({
    min: z.int().optional(),
    max: z.int().optional(),
    maxMiB: z.int().optional(),
    primed: z.boolean().optional(),
    hostname: z.string().optional(),
    network: z
      .strictObject({
        subnet: z.string().optional(),
        subnet6: z.string().optional(),
        reserved: z.array(z.string()).optional(),
      })
      .optional(),
  })
  .meta({ id: "DockTarget" });
export type DockBody = z.input<typeof dockBodySchema>;

export const dockedQuery = z.strictObject({
  ready: z.coerce.number().int().min(0).optional().describe("Wait until so many clones are ready."),
  timeoutMs: z.coerce.number().int().min(1).optional(),
});

export const undockedSchema = z.object({ undocked: z.boolean().describe("Whether there was such a dock.") });
