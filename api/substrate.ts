import { z } from "zod";
import { bytes, count, instant, versionSchema } from "./common.ts";

/** The daemon's own folder is nobody's to name files by. */
const daemonFile = z
  .string()
  .startsWith("/", "expected an absolute path")
  .describe("Absolute path on the daemon's machine; through its socket only.");

export const substrateSchema = z
  .object({
    name: z.string(),
    version: z.int(),
    createdAt: instant,
    recipe: z.string(),
    accelerator: z.string(),
    qemu: z.string(),
    memory: z.object({
      assignedBytes: bytes,
      usedBytes: bytes,
      residentBytes: bytes.describe("What its RAM file really holds."),
    }),
    generalized: z
      .array(z.object({ trace: z.string(), why: z.string(), files: count, paths: z.array(z.string()) }))
      .describe("What was taken out of the guest before it was frozen, and why."),
  })
  .meta({ id: "Substrate" });
export type SubstrateView = z.infer<typeof substrateSchema>;

export const buildBodySchema = z
  .strictObject({
    recipe: z.string().optional().describe("mini or debian."),
    recipeFile: daemonFile.optional(),
    name: z.string().optional(),
  })
  .meta({ id: "Build" });
export type BuildBody = z.input<typeof buildBodySchema>;
export const builtSchema = substrateSchema
  .extend({ reused: z.boolean().describe("It was there, up to date.") })
  .meta({ id: "BuiltSubstrate" });

export const exportBodySchema = z.strictObject({
  file: daemonFile,
});
export const exportedSchema = versionSchema.extend({ file: z.string(), sizeBytes: bytes }).meta({ id: "Exported" });
export const importBodySchema = z.strictObject({
  file: daemonFile,
  name: z.string().optional(),
});
export type ImportBody = z.input<typeof importBodySchema>;

export const removedSchema = z.object({ removed: z.array(versionSchema) });
export const pruneBodySchema = z.strictObject({ keep: z.int() });
export const pruneReportSchema = z
  .object({
    removed: z.array(versionSchema),
    inUse: z.array(versionSchema.extend({ users: z.array(z.object({ kind: z.string(), id: z.string().optional() })) })),
  })
  .meta({ id: "PruneReport" });

export type PruneReportView = z.infer<typeof pruneReportSchema>;

export const scrubBodySchema = z.strictObject({ maxMiBPerSecond: z.number().optional() });
const scrubbedSchema = versionSchema.extend({
  state: z.enum(["ok", "damaged"]),
  damage: z.array(z.object({ file: z.string(), reason: z.string() })),
  bytes,
});
export const scrubReportSchema = z
  .object({ substrates: z.array(scrubbedSchema), damaged: count, bytes })
  .meta({ id: "ScrubReport" });
