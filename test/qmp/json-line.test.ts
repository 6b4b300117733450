import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BadJsonError, parseJsonObject } from "../../lib/qmp/json-line.ts";

const parse = (text: string) => parseJsonObject(Buffer.from(text));

describe("parseJsonObject", () => {
  it("gives what JSON.parse gives, for any object", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), (value) => {
        fc.pre(!JSON.stringify(value).includes("__proto__"));
        const text = JSON.stringify(value);
        expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
      { numRuns: 200 },
    );
  });

  it("gives objects without a prototype, at every depth", () => {
    const value = parse('{"a": [{"b": {}}], "constructor": 1}');
    expect(Object.getPrototypeOf(value)).toBeNull();
    const [first]: Record<string, unknown>[] = Array.isArray(value.a) ? value.a : [];
    expect(Object.getPrototypeOf(first)).toBeNull();
    expect(Object.getPrototypeOf(first?.b)).toBeNull();
    expect("toString" in value).toBe(false);
  });

  it("takes the line end of QEMU, \\r before the newline", () => {
    expect(parse('{"return": {}}\r')).toEqual({ return: {} });
  });

  it.each([
    ["garbage", "hello"],
    ["nothing", ""],
    ["a number", "1"],
    ["null", "null"],
    ["an array", "[]"],
    ["two objects", "{}{}"],
    ["a raw NUL", '{"a": "\0"}'],
    ["a __proto__ key", '{"__proto__": {"polluted": true}}'],
    ["a __proto__ key written with escapes", '{"a": [{"\\u005f_proto__": 1}]}'],
    ["deep arrays", "[".repeat(500_000)],
    ["deep objects that are closed", `${'{"a":'.repeat(100)}1${"}".repeat(100)}`],
    ["millions of values", `{"a": [${"0,".repeat(400_000)}0]}`],
    ["an unfinished string", '{"a": "b'],
  ])("refuses %s", (_what, text) => {
    expect(() => parse(text)).toThrow(BadJsonError);
  });

  it("refuses invalid UTF-8", () => {
    expect(() => parseJsonObject(Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d]))).toThrow(BadJsonError);
  });

  it("does not count brackets inside strings, quotes and backslashes included", () => {
    const text = `${'[{"\\'.repeat(1_000)},`;
    expect(parse(JSON.stringify({ text }))).toEqual({ text });
  });

  it("reads megabytes of base64 in little time", () => {
    const line = JSON.stringify({ return: { "out-data": "A".repeat(8_000_000) } });
    const started = performance.now();
    parse(line);
    expect(performance.now() - started).toBeLessThan(500);
  });
});
