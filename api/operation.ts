import { z } from "zod";
import { instant, pageQuery } from "./common.ts";
import { problemSchema } from "./problem.ts";

const OPERATION_STATES = ["running", "succeeded", "failed", "cancelled"] as const;

/** Work that may take longer than a request should. */
export const operationSchema = z
  .object({
    id: z.string(),
    kind: z.string().describe('"build", "activate", ...'),
    state: z.enum(OPERATION_STATES),
    createdAt: instant,
    endedAt: instant.nullable(),
    progress: z.record(z.string(), z.unknown()).nullable().describe("The last report of its progress."),
    result: z.unknown().describe("Of one that succeeded: what the request answers when it waits. Null in events."),
    error: problemSchema.nullable(),
  })
  .meta({ id: "Operation" });
export type OperationView = Readonly<z.infer<typeof operationSchema>>;

export const operationsQuery = z.strictObject({ ...pageQuery, state: z.enum(OPERATION_STATES).optional() });
