import type { FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { MIB, VmSubstrateError } from "../core/index.ts";
import type { SubstratePaths } from "../host/index.ts";
import type { FileDigest, Manifest } from "./manifest.ts";

/** A manifest has a few KiB; it is kept in memory. */
export const MAX_MANIFEST_BYTES = 1 * MIB;
/** Beside the files: headers, padding and the end of the tar. Far more than seven entries need. */
export const MAX_OVERHEAD_BYTES = 1 * MIB;
/** Device state of a machine without RAM is below 1 MiB. */
const MAX_STATE_BYTES = 256 * MIB;
/** A static program. */
const MAX_HELPER_BYTES = 64 * MIB;
/** A kernel, or an initramfs: read by QEMU as a whole. */
const MAX_BOOT_FILE_BYTES = 512 * MIB;
/** What a machine of this type takes. Source: QEMU's max-fw-size. */
const MAX_FIRMWARE_BYTES = 8 * MIB;
/** 1 TiB. What really fits is a matter of `requireDisk`. */
const MAX_DISK_BYTES = 1_048_576 * MIB;
/** 1 TiB. */
const MAX_RAM_BYTES = 1_048_576 * MIB;

export type SubstrateFile = keyof Manifest["files"];

/** The files of an archive in its order, with the most that each may have. Small ones first: what fails fails early. */
export const MAX_FILE_BYTES: Readonly<Record<SubstrateFile, number>> = {
  state: MAX_STATE_BYTES,
  helper: MAX_HELPER_BYTES,
  kernel: MAX_BOOT_FILE_BYTES,
  initrd: MAX_BOOT_FILE_BYTES,
  firmwareCode: MAX_FIRMWARE_BYTES,
  firmwareVars: MAX_FIRMWARE_BYTES,
  disk: MAX_DISK_BYTES,
  ram: MAX_RAM_BYTES,
};

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the record's keys are the files
const ALL_FILES = Object.keys(MAX_FILE_BYTES) as readonly SubstrateFile[];

/** The files that a substrate has, in an archive's order, and what its manifest says of each. */
export function filesOf({ files }: Pick<Manifest, "files">): readonly (readonly [SubstrateFile, FileDigest])[] {
  return ALL_FILES.flatMap((file) => {
    const digest = files[file];
    return digest === undefined ? [] : [[file, digest] as const];
  });
}

/** The names of an archive's entries after the manifest, in order: the files as they are named in the catalog. */
export function entryNames(manifest: Manifest, paths: SubstratePaths): readonly string[] {
  return filesOf(manifest).map(([file]) => basename(paths[file]));
}

export function totalBytes(manifest: Manifest): number {
  return filesOf(manifest).reduce((sum, [, { sizeBytes }]) => sum + sizeBytes, 0);
}

/** How far an export or import is. */
export interface ArchiveProgress {
  /** The file of the substrate that is being written or read. */
  readonly file: SubstrateFile;
  /** Of all files, uncompressed. */
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface ArchiveOptions {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: ArchiveProgress) => void) | undefined;
}

/** Counts the bytes of all files, and reports them. */
export function archiveProgress(manifest: Manifest, report: ArchiveOptions["onProgress"]) {
  const all = totalBytes(manifest);
  let bytes = 0;
  return (file: SubstrateFile, more: number) => {
    bytes += more;
    report?.({ file, bytes, totalBytes: all });
  };
}

/** @param problem continues "FILE ..." */
export function invalidArchive(file: string, problem: string, cause?: unknown): VmSubstrateError {
  const message = `${file} ${problem}; export the substrate again, or copy the file again`;
  return new VmSubstrateError("SUBSTRATE_ARCHIVE_INVALID", message, { cause, details: { file, problem } });
}

/** With these it is the path that is wrong, and not the machine. Source: open(2). */
const ERRNOS_OF_PATHS = new Set(["ENOENT", "ENOTDIR", "EISDIR", "EACCES", "ELOOP", "ENAMETOOLONG", "EROFS"]);

/**
 * Opens what a caller has named. @param opening of `file`, or of another file of its folder
 * @throws VmSubstrateError INVALID_ARGUMENT where no such file can be; errors of Node's
 */
export async function openNamed(call: string, file: string, opening: Promise<FileHandle>): Promise<FileHandle> {
  return opening.catch((cause: NodeJS.ErrnoException) => {
    if (!ERRNOS_OF_PATHS.has(cause.code ?? "")) throw cause;
    const message = `${call}: ${file} cannot be opened (${cause.code})`;
    throw new VmSubstrateError("INVALID_ARGUMENT", message, { cause, details: { file, errno: cause.code } });
  });
}
