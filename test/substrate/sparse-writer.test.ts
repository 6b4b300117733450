import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { copySparse } from "../../lib/substrate/sparse-file.ts";
import { SparseWriter } from "../../lib/substrate/sparse-writer.ts";

const PAGE = 4096;
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "writer-"));
});
afterEach(() => rm(dir, { recursive: true }));

async function written(file: string, pieces: readonly Uint8Array[]) {
  await using writer = await SparseWriter.create(file);
  for (const piece of pieces) await writer.write(piece);
  return await writer.finish();
}

describe("SparseWriter", () => {
  it("writes what a sparse copy would, however its input is cut into pieces", async () => {
    const pages = fc.array(fc.boolean(), { maxLength: 12 });
    const cuts = fc.array(fc.integer({ min: 0, max: 12 * PAGE }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(pages, fc.integer({ min: 0, max: 99 }), cuts, async (flags, tail, at) => {
        const bytes = Buffer.alloc(flags.length * PAGE + tail, 0);
        for (const [i, isData] of flags.entries()) if (isData) bytes[i * PAGE + 17] = 1;
        const [from, to, copy] = [join(dir, "from"), join(dir, "to"), join(dir, "copy")];
        await writeFile(from, bytes);
        for (const file of [to, copy]) await rm(file, { force: true });
        const places = [0, ...at.filter((one) => one < bytes.length).toSorted((a, b) => a - b), bytes.length];
        const pieces = places.slice(1).map((end, i) => bytes.subarray(places[i], end));
        const found = await written(to, pieces);
        expect(found).toEqual(await copySparse(from, copy));
        expect((await readFile(to)).equals(bytes)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it("leaves holes, across the bounds of its own buffer", async () => {
    const bytes = Buffer.alloc(9 * 2 ** 20 + 5);
    bytes[4 * 2 ** 20 - 1] = 1;
    bytes[4 * 2 ** 20] = 1;
    const file = join(dir, "to");
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    expect(await written(file, [bytes])).toEqual({ sha256, sizeBytes: bytes.length, residentBytes: 2 * PAGE });
    expect((await stat(file)).blocks * 512).toBeLessThan(64 * 1024);
    expect((await readFile(file)).equals(bytes)).toBe(true);
  });

  it("writes into nothing that is there already, nor through a symlink", async () => {
    await writeFile(join(dir, "there"), "precious");
    await symlink(join(dir, "there"), join(dir, "link"));
    for (const name of ["there", "link"]) {
      await expect(SparseWriter.create(join(dir, name))).rejects.toMatchObject({ code: "EEXIST" });
    }
  });
});
