import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { configSchema, parseConfig } from "../../daemon/config.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/CONFIGURATION.md"), "utf8");

/** "listen.tcp" and so on, in the order of the schema. */
function fieldsOf(schema: z.ZodObject, prefix = ""): string[] {
  return Object.entries(schema.shape).flatMap(([name, field]) => {
    const inner = unwrapped(field);
    return inner instanceof z.ZodObject ? fieldsOf(inner, `${prefix}${name}.`) : [`${prefix}${name}`];
  });
}

/** Without what makes it optional. */
function unwrapped(field: unknown): unknown {
  const isWrapper = field instanceof z.ZodPrefault || field instanceof z.ZodDefault || field instanceof z.ZodOptional;
  return isWrapper ? unwrapped(field.unwrap()) : field;
}

describe("docs/CONFIGURATION.md", () => {
  it("has one row for each field, in order", () => {
    const rows = [...PAGE.matchAll(/^\| `([a-zA-Z.]+)` \|/gm)].map(([, name]) => name);
    expect(rows).toEqual(fieldsOf(configSchema));
  });

  it("has an example that can be used", () => {
    const [, example = ""] = /```yaml\n([^`]*)```/.exec(PAGE) ?? [];
    expect(parseConfig(example, "example")).toMatchObject({ memoryMiB: 8192, docks: { mini: { min: 8 } } });
  });
});
