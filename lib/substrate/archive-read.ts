import { chmod, mkdir, rm } from "node:fs/promises";
import { basename } from "node:path";
import { isVmSubstrateError, MIB, messageOf, newId, throwIfAborted } from "../core/index.ts";
import {
  diskFull,
  type Paths,
  type QemuBinary,
  qcow2Objection,
  qcow2VirtualSize,
  requireDisk,
  type SubstratePaths,
} from "../host/index.ts";
import { type ArchiveEntry, archiveEntries, shown } from "./archive-entries.ts";
import {
  type ArchiveOptions,
  archiveProgress,
  entryNames,
  filesOf,
  invalidArchive,
  MAX_FILE_BYTES,
  MAX_MANIFEST_BYTES,
  MAX_OVERHEAD_BYTES,
  type SubstrateFile,
  totalBytes,
} from "./archive-format.ts";
import { requireCompatible } from "./compatibility.ts";
import { type FileDigest, type Manifest, parseManifest } from "./manifest.ts";
import { SparseWriter } from "./sparse-writer.ts";

export interface UnpackOptions extends ArchiveOptions {
  readonly paths: Paths;
  readonly qemu: QemuBinary;
}

/** The files of an archive, verified, where the catalog does not see them. Disposing removes what is still there. */
export interface UnpackedSubstrate extends AsyncDisposable {
  readonly manifest: Manifest;
  readonly files: SubstratePaths;
}

/**
 * Unpacks an archive that anybody may have made. The first entry is the manifest, and every other is held against it: order,
 * name, size, digest, room on the disk. One that is refused leaves nothing.
 *
 * @throws VmSubstrateError SUBSTRATE_ARCHIVE_INVALID, SUBSTRATE_INCOMPATIBLE, INSUFFICIENT_DISK, ABORTED; errors of Node's
 */
export async function unpackArchive(file: string, options: UnpackOptions): Promise<UnpackedSubstrate> {
  const { signal, paths } = options;
  await using undo = new AsyncDisposableStack();
  const files = paths.substrateStaging("import", newId());
  undo.defer(() => rm(files.dir, { recursive: true, force: true }));
  let names = [basename(files.manifest)];
  const allowance = { bytes: MAX_MANIFEST_BYTES + MAX_OVERHEAD_BYTES };
  let unpacking: Unpacking | undefined;
  let at = 0;
  try {
    for await (const entry of archiveEntries(file, allowance, signal)) {
      if (entry.name !== names[at]) {
        const expected = names[at] ?? "its end";
        throw invalidArchive(file, `has ${shown(entry.name)} in place of ${expected}`);
      }
      if (unpacking === undefined) {
        const manifest = await readManifest(file, entry);
        await requireAcceptable(file, manifest, options);
        allowance.bytes += totalBytes(manifest);
        names = [...names, ...entryNames(manifest, files)];
        await mkdir(files.dir, { mode: 0o700 });
        unpacking = { file, manifest, files, progress: archiveProgress(manifest, options.onProgress), signal };
      } else {
        const [name, digest] = filesOf(unpacking.manifest)[at - 1] ?? [];
        if (name !== undefined && digest !== undefined) await unpackFile(unpacking, name, digest, entry);
      }
      at++;
    }
  } catch (error) {
    throw diskFull(paths.substrates, "importing a substrate", reasonOf(file, error, signal));
  }
  if (unpacking === undefined || at < names.length) throw invalidArchive(file, `ends without ${names[at]}`);
  const { manifest } = unpacking;
  await requireHarmlessDisk(file, manifest, files.disk);
  for (const [one] of filesOf(manifest)) await chmod(files[one], 0o400);
  const owned = undo.move();
  return { manifest, files, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Unpacking {
  /** The archive. */
  readonly file: string;
  readonly manifest: Manifest;
  readonly files: SubstratePaths;
  readonly progress: (file: SubstrateFile, bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

async function readManifest(file: string, { name, sizeBytes, bytes }: ArchiveEntry): Promise<Manifest> {
  if (sizeBytes > MAX_MANIFEST_BYTES) throw invalidArchive(file, `has ${name} of ${sizeBytes} bytes`);
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  try {
    return parseManifest(Buffer.concat(chunks).toString(), name);
  } catch (cause) {
    throw invalidArchive(file, `cannot be imported: ${messageOf(cause)}`, cause);
  }
}

/** What a manifest alone tells, before anything is written. */
async function requireAcceptable(file: string, manifest: Manifest, { paths, qemu }: UnpackOptions): Promise<void> {
  const { files, guest, memory } = manifest;
  for (const [one, { sizeBytes }] of filesOf(manifest)) {
    if (sizeBytes <= MAX_FILE_BYTES[one]) continue;
    throw invalidArchive(file, `has ${one} of ${sizeBytes} bytes, more than ${MAX_FILE_BYTES[one]}`);
  }
  // QEMU would refuse another size, at the first clone. Room on the tmpfs is asked for by residentBytes.
  const sizes = [guest.memoryMiB * MIB, memory.assignedBytes];
  if (sizes.some((size) => size !== files.ram.sizeBytes) || memory.residentBytes > files.ram.sizeBytes) {
    throw invalidArchive(file, `has a manifest that contradicts itself about the size of its RAM`);
  }
  await requireCompatible(manifest, qemu, paths);
  const neededBytes = totalBytes(manifest) - files.ram.sizeBytes + memory.residentBytes;
  await requireDisk(paths.substrates, neededBytes, `importing substrate ${manifest.name}`);
}

async function unpackFile(
  unpacking: Unpacking,
  file: SubstrateFile,
  { sha256, sizeBytes }: FileDigest,
  entry: ArchiveEntry,
): Promise<void> {
  const { manifest, files, progress, signal } = unpacking;
  const refuse = (problem: string) => invalidArchive(unpacking.file, `has ${entry.name} ${problem}`);
  if (entry.sizeBytes !== sizeBytes) {
    throw refuse(`of ${entry.sizeBytes} bytes, its manifest says ${sizeBytes}`);
  }
  // A RAM file that holds more than it says would fill the disk now, and later the tmpfs, which kills VMs.
  const mostBytes = file === "ram" ? manifest.memory.residentBytes : sizeBytes;
  const tooMuch = () => refuse(`that holds more than the ${mostBytes} bytes of its manifest`);
  await using writer = await SparseWriter.create(files[file]);
  for await (const chunk of entry.bytes) {
    throwIfAborted(signal, "importSubstrate");
    await writer.write(chunk);
    if (writer.residentBytes > mostBytes) throw tooMuch();
    progress(file, chunk.length);
  }
  const found = await writer.finish();
  if (found.sha256 !== sha256) throw refuse(`with SHA-256 ${found.sha256}, its manifest says ${sha256}`);
  if (found.residentBytes > mostBytes) throw tooMuch();
}

async function requireHarmlessDisk(file: string, manifest: Manifest, disk: string): Promise<void> {
  const objection = await qcow2Objection(disk);
  if (objection !== undefined) throw invalidArchive(file, `has a disk that ${objection}`);
  const size = await qcow2VirtualSize(disk);
  if (size === manifest.diskSizeBytes) return;
  throw invalidArchive(file, `has a disk of ${size} bytes, its manifest says ${manifest.diskSizeBytes}`);
}

/** What is none of ours and names no system call was thrown by zstd or tar-stream about what they were given. */
function reasonOf(file: string, error: unknown, signal: AbortSignal | undefined): unknown {
  if (isVmSubstrateError(error)) return error;
  throwIfAborted(signal, "importSubstrate");
  if (!(error instanceof Error) || error instanceof TypeError || "syscall" in error) return error;
  return invalidArchive(file, `cannot be unpacked: ${error.message}`, error);
}
