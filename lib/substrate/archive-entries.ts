import { once } from "node:events";
import { constants as fsConstants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { constants, createZstdDecompress } from "node:zlib";
import { type Extract, extract } from "tar-stream";
import { KIB } from "../core/index.ts";
import { invalidArchive, openNamed } from "./archive-format.ts";

/** 128 MiB: what zstd itself takes for granted, so that a hostile header cannot ask for more memory. */
const ZSTD_PARAMETERS = { [constants.ZSTD_d_windowLogMax]: 27 };
const READ_CHUNK = 64 * KIB;
const SHOWN_NAME_CHARS = 100;

/** A regular file of an archive. Its bytes must be read before the next entry is asked for. */
export interface ArchiveEntry {
  readonly name: string;
  readonly sizeBytes: number;
  readonly bytes: AsyncIterable<Buffer>;
}

/**
 * The entries of a tar that is compressed with zstd, both of unknown origin. Links, devices, folders and extended headers,
 * which may rename what follows, are refused.
 *
 * @param allowance how much may be unpacked from here on; the reader raises it when it knows more. A few KiB of zstd can hold terabytes of zeros.
 * @throws VmSubstrateError SUBSTRATE_ARCHIVE_INVALID, errors of Node's and of tar-stream
 */
export async function* archiveEntries(
  file: string,
  allowance: { bytes: number },
  signal: AbortSignal | undefined,
): AsyncGenerator<ArchiveEntry> {
  await using source = await openRegular(file);
  const stopping = new AbortController();
  const both = signal === undefined ? stopping.signal : AbortSignal.any([signal, stopping.signal]);
  const tar = extract();
  tar.on("error", () => {}); // the iterator below throws it
  const feeding = feed(file, source, tar, allowance, both).catch((error: unknown) => {
    tar.destroy(error instanceof Error ? error : new Error("stopped", { cause: error }));
    throw error;
  });
  feeding.catch(() => {}); // awaited below, after the last entry
  try {
    for await (const entry of tar) {
      const { name, type, size } = entry.header;
      const isExtended = "pax" in entry.header && entry.header.pax !== null;
      if (type !== "file" || isExtended) {
        throw invalidArchive(file, `has ${shown(name)}, a ${isExtended ? "file with an extended header" : type}`);
      }
      yield { name, sizeBytes: size, bytes: buffersOf(entry) };
    }
    await feeding;
  } finally {
    stopping.abort();
    tar.destroy(null);
    await feeding.catch(() => {});
  }
}

/** Text from an archive, for a message. */
export function shown(name: string): string {
  return JSON.stringify(name.slice(0, SHOWN_NAME_CHARS));
}

/** Streams of tar-stream are not Node's, and their types say nothing of what they carry. */
export async function* buffersOf(stream: AsyncIterable<unknown>): AsyncGenerator<Buffer> {
  for await (const chunk of stream) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError("tar-stream gave something else than bytes");
    yield chunk;
  }
}

/** Not a pipe, which would keep `open` waiting, and not a device. */
async function openRegular(file: string): Promise<FileHandle> {
  const opening = open(file, fsConstants.O_RDONLY | fsConstants.O_NONBLOCK);
  const handle = await openNamed("importSubstrate", file, opening);
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw invalidArchive(file, "is not a regular file");
}

async function* chunksOf(source: FileHandle): AsyncGenerator<Buffer> {
  for (let position = 0; ; ) {
    const { bytesRead, buffer } = await source.read(Buffer.alloc(READ_CHUNK), 0, READ_CHUNK, position);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    position += bytesRead;
  }
}

async function feed(
  file: string,
  source: FileHandle,
  tar: Extract,
  allowance: { bytes: number },
  signal: AbortSignal,
): Promise<void> {
  const { size } = await source.stat();
  const zstd = createZstdDecompress({ params: ZSTD_PARAMETERS });
  const intoTar = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      allowance.bytes -= chunk.length;
      if (allowance.bytes < 0) throw invalidArchive(file, "unpacks to more than its manifest says");
      if (!tar.write(chunk)) await once(tar, "drain", { signal });
    }
  };
  await pipeline(chunksOf(source), zstd, intoTar, { signal });
  // Node takes the first frame, and leaves out what follows it without a word.
  if (zstd.bytesWritten !== size) throw invalidArchive(file, "has something behind its end");
  tar.end(null);
}
