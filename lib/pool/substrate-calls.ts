import { resolve } from "node:path";
import { z } from "zod";
import { signalSchema, validate } from "../core/index.ts";
import { callOptionsSchema, nameSchema, pathSchema, referenceSchema } from "./schemas.ts";
import type { ExportOptions, ImportOptions, PruneOptions, ScrubOptions } from "./substrate-options.ts";

/** Below what a disk gives, so that VMs are not kept waiting for theirs. */
const DEFAULT_SCRUB_MIB = 200;
const MAX_SCRUB_MIB = 65_536;

const signal = signalSchema.optional();
const callback = <T>() => z.custom<T>((given) => typeof given === "function", "expected a function").optional();

const exportOptionsSchema = z.strictObject({
  onProgress: callback<NonNullable<ExportOptions["onProgress"]>>(),
  signal,
});
const importOptionsSchema = z.strictObject({
  name: nameSchema.optional(),
  onProgress: callback<NonNullable<ImportOptions["onProgress"]>>(),
  signal,
});
const pruneOptionsSchema = z.strictObject({ keep: z.int().min(1), signal });
const scrubOptionsSchema = z.strictObject({
  maxMiBPerSecond: z.int().min(1).max(MAX_SCRUB_MIB).default(DEFAULT_SCRUB_MIB),
  onProgress: callback<NonNullable<ScrubOptions["onProgress"]>>(),
  signal,
});

/** The calls that concern substrates, validated. @throws VmSubstrateError INVALID_ARGUMENT */
export function exportCall(substrate: string, file: string, options: ExportOptions) {
  const reference = validate(referenceSchema, substrate, "exportSubstrate: substrate");
  const path = resolve(validate(pathSchema, file, "exportSubstrate: file"));
  return { onProgress: undefined, ...validate(exportOptionsSchema, options, "exportSubstrate"), reference, file: path };
}

export function importCall(file: string, options: ImportOptions) {
  const path = resolve(validate(pathSchema, file, "importSubstrate: file"));
  return { onProgress: undefined, ...validate(importOptionsSchema, options, "importSubstrate"), file: path };
}

export function removeCall(substrate: string, options: z.input<typeof callOptionsSchema>) {
  const reference = validate(referenceSchema, substrate, "removeSubstrate: substrate");
  // A bare name is all of its versions: whoever means the newest says so.
  const scope = substrate.includes("@") ? ("one" as const) : ("all" as const);
  return { ...validate(callOptionsSchema, options, "removeSubstrate"), reference, scope };
}

export function pruneCall(options: PruneOptions) {
  return validate(pruneOptionsSchema, options, "pruneSubstrates");
}

export function scrubCall(options: ScrubOptions) {
  return validate(scrubOptionsSchema, options, "scrubSubstrates");
}
