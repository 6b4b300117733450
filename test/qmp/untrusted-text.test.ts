import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { shownText } from "../../lib/qmp/index.ts";

describe("shownText", () => {
  it("leaves ordinary text alone, whatever the language", () => {
    expect(shownText("Gerät 東京 🙂")).toBe("Gerät 東京 🙂");
  });

  it("escapes what moves the cursor, forges lines or turns the text around", () => {
    expect(shownText("a\u001b[2Jb\nc\u202ed\u2028")).toBe("a\\u{1b}[2Jb\\u{a}c\\u{202e}d\\u{2028}");
  });

  it("is short and free of control characters, whatever it is given", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 1_000 }), (text) => {
        const shown = shownText(text);
        expect(shown).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}]/u);
        expect(shown.length).toBeLessThan(3_000);
      }),
      { numRuns: 200 },
    );
  });
});
