import { assert, integer, property, string } from "fast-check";
import { describe, expect, it } from "vitest";
import { formatBytes, formatDuration, parseDuration } from "../../cli/units.ts";
import { pair } from "../../cli/values.ts";

describe("durations", () => {
  it.each([
    ["250ms", 250],
    ["30s", 30_000],
    ["5m", 300_000],
    ["1h", 3_600_000],
    ["2d", 172_800_000],
    ["1h30m", 5_400_000],
    ["1.5h", 5_400_000],
  ])("%s is %i ms", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(["", "5", "m", "5 m", "-5m", "5m!", "1e3s", "5M", "1h 30m", "٣s"])("%j is none", (text) => {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("that are shown are read as what they were, but for what is too small to be shown", () => {
    assert(
      property(integer({ min: 0, max: 100 * 86_400_000 }), (ms) => {
        const again = parseDuration(formatDuration(ms));
        expect(Math.abs(again - ms)).toBeLessThanOrEqual(ms < 1000 ? 0 : ms / 24);
      }),
    );
  });

  it("of any text are numbers or an error of ours", () => {
    assert(
      property(string(), (text) => {
        try {
          expect(parseDuration(text)).toBeGreaterThanOrEqual(0);
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
        }
      }),
    );
  });
});

describe("pairs", () => {
  it("are split at the first =, whatever follows", () => {
    const key = string({ minLength: 1 }).filter((text) => !text.includes("=") && text !== "__proto__");
    assert(
      property(key, string(), (name, value) => {
        expect(pair(`${name}=${value}`)).toEqual({ [name]: value });
      }),
    );
  });

  it("keep what came before, and the last of a name counts", () => {
    expect(pair("b=2", pair("a=1", { b: "1" }))).toEqual({ a: "1", b: "2" });
  });

  it.each(["", "a", "=b"])("%j is none", (text) => {
    expect(() => pair(text)).toThrow("KEY=VALUE");
  });
});

describe("sizes", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.0 KiB"],
    [96 * 1024 ** 2, "96.0 MiB"],
    [3 * 1024 ** 4, "3.0 TiB"],
  ])("%i bytes are %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});
