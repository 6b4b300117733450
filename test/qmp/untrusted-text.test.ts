import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { shownLines, shownText } from "../../lib/qmp/index.ts";

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

describe("shownLines", () => {
  it("keeps lines and tabs, whichever way a line ends, and leaves out what only colours or moves", () => {
    expect(shownLines("a\tb\r\nc\rd\r\r\n\u001b[1;31me\u001b[0m\u001b[2J")).toBe("a\tb\nc\nd\ne");
  });

  it("escapes every other control sequence, also half of one", () => {
    expect(shownLines("\u001b]0;x\u0007\u001b[12\b")).toBe("\\u{1b}]0;x\\u{7}\\u{1b}[12\\u{8}");
  });

  it("has no control character but line feed and tab, whatever it is given", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 1_000 }), (text) => {
        expect(shownLines(text).replaceAll(/[\n\t]/g, "")).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}]/u);
      }),
      { numRuns: 200 },
    );
  });
});
