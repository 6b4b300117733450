import { z } from "zod";

/** The media type of a problem. Source: RFC 9457. */
export const PROBLEM_TYPE = "application/problem+json";

/** Begins the `type` of a problem; the error's code follows. */
export const PROBLEM_URN = "urn:vm-substrate:error:";

/** What every error of the API looks like. Source: RFC 9457, Problem Details for HTTP APIs. */
export const problemSchema = z
  .object({
    type: z.string().describe("urn:vm-substrate:error: and the code."),
    title: z.string().describe("What the code means."),
    status: z.int().describe("The HTTP status."),
    detail: z.string().describe("What was expected, what was got, and the way out."),
    code: z.string().describe("One of the codes of docs/ERRORS.md."),
    details: z.record(z.string(), z.unknown()).optional().describe("Facts about the failure, by code."),
    instance: z.string().optional().describe("The request's id, as in the daemon's log."),
  })
  .meta({ id: "Problem" });

export type Problem = Readonly<z.infer<typeof problemSchema>>;
