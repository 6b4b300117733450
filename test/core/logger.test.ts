import { describe, expect, it } from "vitest";
import { withFields } from "../../lib/core/index.ts";

describe("withFields", () => {
  it("adds its fields to each line, which keeps its own where both have one", () => {
    const lines: unknown[] = [];
    const level = (name: string) => (fields: Record<string, unknown>, message: string) =>
      void lines.push([name, fields, message]);
    const logger = { debug: level("debug"), info: level("info"), warn: level("warn"), error: level("error") };
    const nested = withFields(withFields(logger, { call: "1", vm: "a" }), { vm: "b" });
    for (const name of ["debug", "info", "warn", "error"] as const) nested[name]({ n: 1 }, "said");
    nested.info({ vm: "c" }, "own");
    expect(lines).toEqual([
      ["debug", { call: "1", vm: "b", n: 1 }, "said"],
      ["info", { call: "1", vm: "b", n: 1 }, "said"],
      ["warn", { call: "1", vm: "b", n: 1 }, "said"],
      ["error", { call: "1", vm: "b", n: 1 }, "said"],
      ["info", { call: "1", vm: "c" }, "own"],
    ]);
  });
});
