import { z } from "zod";

/** Where the API's current version is. A version stays until a change that old clients cannot read. */
export const API_PREFIX = "/v1";

/** Most items of one page of a list. */
const MAX_PAGE = 1000;
const DEFAULT_PAGE = 200;
/** Longest that a request waits for an operation, seconds. */
const MAX_WAIT_SECONDS = 3600;

export const count = z.int().min(0);
export const bytes = z.int().min(0);
export const instant = z.iso.datetime();
export const milliseconds = z.number().min(0);

export const resourcesSchema = z
  .object({ cpus: z.int(), memoryMiB: z.int(), diskMiB: z.int() })
  .meta({ id: "Resources", description: "What a VM has of its machine." });

export const versionSchema = z
  .object({ name: z.string(), version: z.int() })
  .meta({ id: "SubstrateVersion", description: "One version of a substrate." });

/** `wait` of requests that start something. */
export const waitQuery = (seconds: number) =>
  z.strictObject({
    wait: z.coerce
      .number()
      .min(0)
      .max(MAX_WAIT_SECONDS)
      .default(seconds)
      .describe("Seconds to wait for the end before the answer is 202 and an operation to ask for."),
  });

export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(DEFAULT_PAGE).describe("Most items of the answer."),
  cursor: z.string().max(200).optional().describe("`next` of the answer before this one."),
};

/** A list in pages. `next` is there when there is more. */
export const pageOf = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), next: z.string().optional() });

export const idParameter = z.strictObject({
  id: z.string().min(1).max(63).describe("An id, an unambiguous beginning of one, or a hostname."),
});

export const substrateParameter = z.strictObject({
  substrate: z.string().min(1).max(64).describe('"mini", "mini@latest" or "mini@3".'),
});
