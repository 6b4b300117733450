import { z } from "zod";
import { VmSubstrateError } from "./errors.ts";

export const signalSchema = z.instanceof(AbortSignal);

/**
 * Validates what a caller gave, at the edge, before anything is touched.
 * @throws VmSubstrateError INVALID_ARGUMENT naming each field
 */
export function validate<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => ({ path: issue.path.join("."), message: issue.message }));
  const listed = problems
    .map(({ path: where, message }) => (where === "" ? message : `${where}: ${message}`))
    .join("; ");
  throw new VmSubstrateError("INVALID_ARGUMENT", `${what}: ${listed}`, { details: { problems } });
}
