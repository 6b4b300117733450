import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LineSplitter, LineTooLongError } from "../../lib/qmp/line-splitter.ts";

function split(chunks: readonly Uint8Array[], cap = 1_000_000): string[] {
  const splitter = new LineSplitter();
  const lines: string[] = [];
  for (const chunk of chunks) {
    splitter.push(
      Buffer.from(chunk),
      () => cap,
      (line) => lines.push(line.toString("latin1")) > 0,
    );
  }
  return lines;
}

describe("LineSplitter", () => {
  it("gives the same lines however the bytes are cut into chunks", () => {
    const chunks = fc.array(fc.array(fc.constantFrom(0x0a, 0x61, 0xff), { maxLength: 20 }), { maxLength: 20 });
    fc.assert(
      fc.property(chunks, (parts) => {
        const bytes = Buffer.from(parts.flat());
        const expected = bytes.toString("latin1").split("\n").slice(0, -1);
        expect(split(parts.map((part) => Uint8Array.from(part)))).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  it("accepts a line of exactly the cap and refuses one byte more, in one chunk or in many", () => {
    expect(split([Buffer.from("abcd\n")], 4)).toEqual(["abcd"]);
    expect(split([Buffer.from("ab"), Buffer.from("cd"), Buffer.from("\n")], 4)).toEqual(["abcd"]);
    expect(() => split([Buffer.from("abcde\n")], 4)).toThrow(LineTooLongError);
    expect(() => split([Buffer.from("abc"), Buffer.from("de")], 4)).toThrow(LineTooLongError);
  });

  it("stops when the listener has had enough", () => {
    const seen: string[] = [];
    new LineSplitter().push(
      Buffer.from("a\nb\nc\n"),
      () => 10,
      (line) => {
        seen.push(line.toString());
        return false;
      },
    );
    expect(seen).toEqual(["a"]);
  });

  it("keeps a line intact although later lines follow", () => {
    const splitter = new LineSplitter();
    const kept: Buffer[] = [];
    for (const part of ["on", "e\ntw", "o\n"]) {
      splitter.push(
        Buffer.from(part),
        () => 10,
        (line) => kept.push(line) > 0,
      );
    }
    expect(kept.map(String)).toEqual(["one", "two"]);
    expect(splitter.pendingBytes).toBe(0);
  });

  it("takes 20 MB without a newline in little time, in large chunks and in small ones", () => {
    const splitter = new LineSplitter();
    const started = performance.now();
    for (let bytes = 0; bytes < 20_000_000; bytes += 64_000) push(splitter, Buffer.alloc(64_000, "x"));
    for (let bytes = 0; bytes < 100_000; bytes++) push(splitter, Buffer.from("x"));
    // Milliseconds in truth; a quadratic splitter takes 20 s and more.
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});

function push(splitter: LineSplitter, chunk: Buffer): void {
  splitter.push(
    chunk,
    () => 30_000_000,
    () => true,
  );
}
