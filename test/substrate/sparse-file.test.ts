import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { copySparse, digestFile } from "../../lib/substrate/sparse-file.ts";

const PAGE = 4096;
const CHUNK = 4 * 2 ** 20;
let dir = "";
let from = "";
let to = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "sparse-"));
  from = join(dir, "from");
  to = join(dir, "to");
});
afterEach(() => rm(dir, { recursive: true }));

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Pages of data and of zeros, and a tail that is no whole page. */
function image(pages: readonly boolean[], tail: Uint8Array): Buffer {
  const bytes = Buffer.alloc(pages.length * PAGE + tail.length);
  for (const [i, isData] of pages.entries()) if (isData) bytes[i * PAGE + ((i * 997) % PAGE)] = 1 + (i % 255);
  bytes.set(tail, pages.length * PAGE);
  return bytes;
}

describe("copySparse", () => {
  it("copies and digests any file, and counts its pages that are not zero", async () => {
    const pages = fc.array(fc.boolean(), { maxLength: 40 });
    const tail = fc.uint8Array({ maxLength: 100, max: 1 });
    await fc.assert(
      fc.asyncProperty(pages, tail, async (flags, rest) => {
        const bytes = image(flags, rest);
        await writeFile(from, bytes);
        await rm(to, { force: true });
        const copy = await copySparse(from, to);
        expect((await readFile(to)).equals(bytes)).toBe(true);
        const tailBytes = rest.some((byte) => byte !== 0) ? rest.length : 0;
        const residentBytes = flags.filter(Boolean).length * PAGE + tailBytes;
        expect(copy).toEqual({ sha256: sha256(bytes), sizeBytes: bytes.length, residentBytes });
      }),
      { numRuns: 40 },
    );
  });

  it("leaves holes where pages are zero", async () => {
    const bytes = image(
      Array.from({ length: 256 }, (_, i) => i === 3 || i === 200),
      new Uint8Array(),
    );
    await writeFile(from, bytes);
    await copySparse(from, to);
    expect((await stat(from)).blocks * 512).toBeGreaterThanOrEqual(bytes.length);
    expect((await stat(to)).blocks * 512).toBeLessThan(16 * PAGE);
  });

  it.each([0, 1, PAGE - 1, PAGE, PAGE + 1, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + PAGE + 7])(
    "copies %d bytes of data, and of zeros",
    async (size) => {
      for (const fill of [7, 0]) {
        const bytes = Buffer.alloc(size, fill);
        await writeFile(from, bytes);
        await rm(to, { force: true });
        const { residentBytes, sizeBytes } = await copySparse(from, to);
        expect((await readFile(to)).equals(bytes)).toBe(true);
        expect({ residentBytes, sizeBytes }).toEqual({ residentBytes: fill === 0 ? 0 : size, sizeBytes: size });
      }
    },
  );

  it("writes into nothing that is there already, nor through a symlink", async () => {
    await writeFile(from, "new");
    await writeFile(to, "precious");
    await symlink(to, join(dir, "link"));
    for (const target of [to, join(dir, "link")]) {
      await expect(copySparse(from, target)).rejects.toMatchObject({ code: "EEXIST" });
    }
    expect(await readFile(to, "utf8")).toBe("precious");
  });

  it("makes a private file, and stops when told to", async () => {
    await writeFile(from, "x");
    await copySparse(from, to);
    expect((await stat(to)).mode & 0o777).toBe(0o600);
    await expect(copySparse(from, join(dir, "other"), AbortSignal.abort())).rejects.toThrow(/abort/i);
  });
});

describe("digestFile", () => {
  it("is SHA-256 and size", async () => {
    const bytes = Buffer.alloc(3 * 2 ** 20 + 5, "abc");
    await writeFile(from, bytes);
    expect(await digestFile(from)).toEqual({ sha256: sha256(bytes), sizeBytes: bytes.length });
    await expect(digestFile(join(dir, "none"))).rejects.toMatchObject({ code: "ENOENT" });
  });
});
