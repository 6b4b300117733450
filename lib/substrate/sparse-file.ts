import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { KIB, MIB } from "../core/index.ts";
import type { FileDigest } from "./manifest.ts";

export const CHUNK_BYTES = 4 * MIB;
export const PAGE_BYTES = 4 * KIB;
export const ZERO_PAGE = Buffer.alloc(PAGE_BYTES);

export interface SparseCopy extends FileDigest {
  /** Bytes of the pages that are not zero, and so take room. */
  readonly residentBytes: number;
}

/**
 * Copies a RAM file, leaving holes where pages are zero, and digests it on the way. The copy is new: an existing file is
 * an error, so that nobody's planted file is written into.
 */
export async function copySparse(from: string, to: string, signal?: AbortSignal): Promise<SparseCopy> {
  await using source = await open(from, "r");
  await using target = await open(to, "wx", 0o600);
  const hash = createHash("sha256");
  const chunk = Buffer.alloc(CHUNK_BYTES);
  let sizeBytes = 0;
  let residentBytes = 0;
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await source.read(chunk, 0, CHUNK_BYTES, sizeBytes);
    if (bytesRead === 0) break;
    hash.update(chunk.subarray(0, bytesRead));
    residentBytes += await writePages(target, chunk.subarray(0, bytesRead), sizeBytes);
    sizeBytes += bytesRead;
  }
  await target.truncate(sizeBytes);
  return { sha256: hash.digest("hex"), sizeBytes, residentBytes };
}

/** Writes each run of pages that are not zero. @returns bytes of those pages */
export async function writePages(target: FileHandle, bytes: Buffer, position: number): Promise<number> {
  let written = 0;
  let runStart = -1;
  for (let at = 0; at <= bytes.length; at += PAGE_BYTES) {
    const page = bytes.subarray(at, at + PAGE_BYTES);
    const isData =
      page.length > 0 && !page.equals(page.length === PAGE_BYTES ? ZERO_PAGE : ZERO_PAGE.subarray(0, page.length));
    if (isData && runStart < 0) runStart = at;
    if (isData || runStart < 0) continue;
    const run = bytes.subarray(runStart, at);
    await writeAll(target, run, position + runStart);
    written += run.length;
    runStart = -1;
  }
  if (runStart >= 0) {
    const run = bytes.subarray(runStart);
    await writeAll(target, run, position + runStart);
    written += run.length;
  }
  return written;
}

/** A file system that runs full takes the beginning of what it is given, and only the next write fails. */
export async function writeAll(target: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await target.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/** @param afterChunk is awaited after each MiB or less: whoever must not take the whole disk waits in it */
export async function digestFile(
  path: string,
  signal?: AbortSignal,
  afterChunk?: (bytes: number) => Promise<void>,
): Promise<FileDigest> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: MIB, signal })) {
    hash.update(chunk);
    sizeBytes += chunk.length;
    await afterChunk?.(chunk.length);
  }
  return { sha256: hash.digest("hex"), sizeBytes };
}
