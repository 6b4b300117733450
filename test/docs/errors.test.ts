import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ERROR_CODES } from "../../lib/core/index.ts";

const DOCUMENT = readFileSync(join(import.meta.dirname, "../../docs/ERRORS.md"), "utf8");

/** The cells of each row that begins with a code, whichever table it is in. */
const rows = DOCUMENT.split("\n")
  .filter((line) => /^\| `[A-Z_]+` \|/.test(line))
  .map((line) =>
    line
      .slice(1, -1)
      .split(" | ")
      .map((cell) => cell.trim()),
  );

describe("docs/ERRORS.md", () => {
  it("has one row for each code, in the order of ERROR_CODES", () => {
    expect(rows.map(([code]) => code)).toEqual(Object.keys(ERROR_CODES).map((code) => `\`${code}\``));
  });

  it("says for each code when it happens and what to do", () => {
    for (const row of rows) {
      expect(row, row[0]).toHaveLength(3);
      for (const cell of row.slice(1)) expect(cell, row[0]).toMatch(/^\S.*\.$/);
    }
  });
});
