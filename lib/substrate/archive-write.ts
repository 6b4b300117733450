import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress } from "node:zlib";
import { type Pack, pack } from "tar-stream";
import { isVmSubstrateError, MIB, newId, throwIfAborted, VmSubstrateError } from "../core/index.ts";
import { archiveStaging, diskFull, requireDisk, STAT_BLOCK } from "../host/index.ts";
import { buffersOf } from "./archive-entries.ts";
import { type ArchiveOptions, archiveProgress, filesOf, openNamed } from "./archive-format.ts";
import type { Substrate } from "./catalog.ts";
import { serializeManifest } from "./manifest.ts";
import { writeAll } from "./sparse-file.ts";
import { syncDirectory } from "./sync-directory.ts";

type Entry = ReturnType<Pack["entry"]>;

const READ_CHUNK = MIB;
/** So that damage on the way is found by any tool, and at the place where it is. */
const ZSTD_PARAMETERS = { [constants.ZSTD_c_checksumFlag]: 1 };

/**
 * Writes a substrate into one file, which takes the place of one that is there. Whatever fails leaves nothing new.
 * Every file is digested on the way: a damaged substrate does not become an archive.
 *
 * @returns the size of the archive in bytes
 * @throws VmSubstrateError INVALID_ARGUMENT when no file can be there, INSUFFICIENT_DISK, SUBSTRATE_CORRUPT naming the file,
 *   ABORTED; errors of Node's
 */
export async function writeArchive(substrate: Substrate, file: string, options: ArchiveOptions): Promise<number> {
  const isDirectory = await stat(file).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isDirectory) {
    throw new VmSubstrateError("INVALID_ARGUMENT", `exportSubstrate: ${file} is a directory; name a file in it`);
  }
  const purpose = `exporting substrate ${substrate.manifest.name}`;
  await requireRoom(substrate, dirname(file), purpose);
  const staging = archiveStaging(file, newId());
  try {
    const opening = openNamed("exportSubstrate", file, open(staging, "wx", 0o600));
    const sizeBytes = await writeInto(await opening, substrate, options);
    throwIfAborted(options.signal, "exportSubstrate");
    await rename(staging, file);
    await syncDirectory(dirname(file));
    return sizeBytes;
  } catch (error) {
    throw diskFull(dirname(file), purpose, error);
  } finally {
    await rm(staging, { force: true });
  }
}

/** For what the files take now: holes all but vanish in an archive, and the rest is compressed. */
async function requireRoom({ manifest, paths }: Substrate, dir: string, purpose: string): Promise<void> {
  const sizes = filesOf(manifest).map(async ([file]) => {
    const { blocks } = await stat(paths[file]).catch((cause: unknown) => {
      throw damaged({ manifest, paths }, paths[file], cause);
    });
    return blocks * STAT_BLOCK;
  });
  const neededBytes = (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
  await requireDisk(dir, neededBytes, purpose).catch((error: unknown) => {
    // Whether there is such a folder is said when the file is opened in it.
    if (isVmSubstrateError(error)) throw error;
  });
}

async function writeInto(file: FileHandle, substrate: Substrate, options: ArchiveOptions): Promise<number> {
  await using target = file;
  await compressInto(target, substrate, options);
  await target.sync();
  return (await target.stat()).size;
}

/** Two things at the same time: entries go into the tar at one end, and its bytes to the disk at the other. The first to fail ends both. */
async function compressInto(target: FileHandle, substrate: Substrate, options: ArchiveOptions): Promise<void> {
  const stopping = new AbortController();
  const signal = options.signal === undefined ? stopping.signal : AbortSignal.any([options.signal, stopping.signal]);
  const tar = pack();
  tar.on("error", () => {}); // whoever destroys it has the error already
  let failure: unknown;
  const failed = (error: unknown) => {
    failure ??= error ?? new Error("stopped");
    stopping.abort();
    tar.destroy(null);
  };
  const packing = packEntries(tar, substrate, options.onProgress, signal).catch(failed);
  // Not a stream of the file's: that would have to be closed before the file can be, and closes it before it is synced.
  const output = async (chunks: AsyncIterable<Buffer>) => {
    let position = 0;
    for await (const chunk of chunks) {
      await writeAll(target, chunk, position);
      position += chunk.length;
    }
  };
  await pipeline(buffersOf(tar), createZstdCompress({ params: ZSTD_PARAMETERS }), output, { signal }).catch(failed);
  await packing;
  throwIfAborted(options.signal, "exportSubstrate");
  if (failure !== undefined) throw failure;
}

async function packEntries(
  tar: Pack,
  { manifest, paths }: Substrate,
  onProgress: ArchiveOptions["onProgress"],
  signal: AbortSignal,
): Promise<void> {
  const progress = archiveProgress(manifest, onProgress);
  const mtime = new Date(manifest.createdAt); // the same substrate makes the same archive
  const text = Buffer.from(serializeManifest(manifest));
  await packEntry(tar, { name: basename(paths.manifest), size: text.length, mode: 0o400, mtime }, signal, (entry) =>
    write(entry, text, signal),
  );
  for (const [file, { sha256, sizeBytes }] of filesOf(manifest)) {
    const header = { name: basename(paths[file]), size: sizeBytes, mode: 0o400, mtime };
    await packEntry(tar, header, signal, async (entry) => {
      const hash = createHash("sha256");
      let readBytes = 0;
      for await (const chunk of chunksOf(paths[file], signal)) {
        hash.update(chunk);
        readBytes += chunk.length;
        if (readBytes > sizeBytes) break;
        await write(entry, chunk, signal);
        progress(file, chunk.length);
      }
      if (readBytes !== sizeBytes || hash.digest("hex") !== sha256) throw damaged({ manifest, paths }, paths[file]);
    });
  }
  tar.finalize();
}

async function packEntry(
  tar: Pack,
  header: { readonly name: string; readonly size: number; readonly mode: number; readonly mtime: Date },
  signal: AbortSignal,
  fill: (entry: Entry) => Promise<void>,
): Promise<void> {
  signal.throwIfAborted();
  const { promise: packed, resolve, reject } = Promise.withResolvers<void>();
  packed.catch(() => {});
  const entry = tar.entry({ ...header }, (error) => (error ? reject(error) : resolve()));
  entry.on("error", () => {}); // it is destroyed with the tar, by whoever has the error
  await fill(entry);
  entry.end(null);
  await packed;
}

async function write(entry: Entry, bytes: Buffer, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (!entry.write(bytes)) await once(entry, "drain", { signal });
}

function chunksOf(path: string, signal: AbortSignal): AsyncIterable<Buffer> {
  return createReadStream(path, { highWaterMark: READ_CHUNK, signal });
}

function damaged({ manifest }: Substrate, file: string, cause?: unknown): VmSubstrateError {
  const { name, version } = manifest;
  const message = `substrate ${name} ${version}: ${file} does not match its manifest; build it again before it is exported`;
  return new VmSubstrateError("SUBSTRATE_CORRUPT", message, { cause, details: { substrate: name, version, file } });
}
