import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import * as limits from "../../lib/qmp/limits.ts";

describe("docs/QMP.md", () => {
  it("lists every limit with its value, and no other", async () => {
    const page = await readFile(new URL("../../docs/QMP.md", import.meta.url), "utf8");
    const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (\d+) \|/gm)].map(([, name, value]) => [name, Number(value)]);
    const numbers = Object.entries(limits).filter(([, value]) => typeof value === "number");
    expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(numbers));
    expect(rows).toHaveLength(numbers.length);
  });
});
