import { describe, expect, it } from "vitest";
import { plainConsole } from "../../web/format/console-text.ts";

describe("plainConsole", () => {
  it.each([
    ["colours", "\u001b[1;32mok\u001b[0m", "ok"],
    ["the cursor's ways", "a\u001b[2K\u001b[10;3Hb\u001b7", "ab"],
    ["a window's title, ended by a bell", "\u001b]0;title\u0007x", "x"],
    ["a link", "\u001b]8;;http://x\u001b\\text\u001b]8;;\u001b\\", "text"],
    ["control characters", "a\u0000b\u0008c\u009bd", "abcd"],
    ["characters that turn the direction of text", "a\u202eb\u2066c", "abc"],
  ])("leaves out %s", (_, text, plain) => {
    expect(plainConsole(text)).toBe(plain);
  });

  it("keeps lines, tabs and letters of all languages", () => {
    expect(plainConsole("one\r\n\ttwo: größe 日本\n")).toBe("one\n\ttwo: größe 日本\n");
  });

  it("shows the last state of a line that was overwritten", () => {
    expect(plainConsole("10 %\r50 %\r100 %\nnext")).toBe("100 %\nnext");
  });

  it("leaves markup as the text that it is", () => {
    expect(plainConsole("<img src=x onerror=alert(1)>")).toBe("<img src=x onerror=alert(1)>");
  });
});
