import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { MIB, messageOf, VmSubstrateError } from "../core/index.ts";
import { HEADER_BYTES, headerObjection, isQcow2 } from "./qcow2.ts";
import { runTool } from "./run-tool.ts";

export const DISK_FORMATS = ["qcow2", "raw"] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

/** 1 TiB of virtual size: a header of a few bytes can claim any size, and tables for it are made and read. */
export const MAX_IMAGE_MIB = 1_048_576;
/** Copying the largest image from the slowest disk. */
const CONVERT_TIMEOUT_MS = 3_600_000;
/** 2 is what QEMU wrote before 1.1, and some distributions still do. */
const VERSIONS = [2, 3];
const SECTOR_BYTES = 512;

/**
 * An image of the user's own, open for reading and looked into by this code before any tool gets to see it. What was
 * looked at stays what is read: tools get the open file, whatever has the name meanwhile.
 */
export class DiskImage implements AsyncDisposable {
  readonly format: DiskFormat;
  readonly virtualSizeBytes: number;
  /** What it takes on its disk. */
  readonly storedBytes: number;
  /** Changes with the file's content: the kernel changes ctime with every write. */
  readonly key: string;
  readonly #handle: FileHandle;
  readonly #name: string;

  private constructor(handle: FileHandle, name: string, format: DiskFormat, stats: BigIntStats, sizeBytes: number) {
    this.#handle = handle;
    this.#name = name;
    this.format = format;
    this.virtualSizeBytes = sizeBytes;
    this.storedBytes = Number(stats.blocks) * SECTOR_BYTES;
    this.key = keyOf(stats);
  }

  /**
   * @param file without symbolic links
   * @throws VmSubstrateError DISK_IMAGE_REFUSED saying why
   */
  static async open(file: string, format: DiskFormat): Promise<DiskImage> {
    await using undo = new AsyncDisposableStack();
    // Not waiting for a pipe's other end, and not following what took the file's place.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
    const handle = await open(file, flags).catch((cause: unknown) => {
      throw refused(file, `cannot be opened (${messageOf(cause)})`, cause);
    });
    undo.use(handle);
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile()) throw refused(file, "is not a regular file");
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
    const header = buffer.subarray(0, bytesRead);
    const sizeBytes = format === "qcow2" ? qcow2Size(file, header) : rawSize(file, header, stats.size);
    undo.move();
    return new DiskImage(handle, file, format, stats, sizeBytes);
  }

  /**
   * Copies it into a qcow2 that stands alone.
   * @throws VmSubstrateError RECIPE_FAILED, also when the image was written to meanwhile; RECIPE_TOOL_MISSING, TIMEOUT, ABORTED
   */
  async copyTo(qcow2: string, signal: AbortSignal | undefined): Promise<void> {
    const file = { driver: "file", filename: `/proc/${process.pid}/fd/${this.#handle.fd}` };
    // A backing file is not opened even if the header has come to name one.
    const source = this.format === "qcow2" ? { driver: "qcow2", backing: null, file } : { driver: "raw", file };
    const argv = ["qemu-img", "convert", "-O", "qcow2", `json:${JSON.stringify(source)}`, qcow2] as const;
    await runTool(argv, { timeoutMs: CONVERT_TIMEOUT_MS, signal });
    if (keyOf(await this.#handle.stat({ bigint: true })) === this.key) return;
    throw new VmSubstrateError("RECIPE_FAILED", `image ${this.#name} was written to while it was copied; then again`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

function qcow2Size(file: string, header: Buffer): number {
  const objection = headerObjection(header, VERSIONS);
  if (objection !== undefined) throw refused(file, objection);
  return requireSize(file, header.readBigUInt64BE(24));
}

function rawSize(file: string, header: Buffer, sizeBytes: bigint): number {
  if (isQcow2(header)) throw refused(file, "is a qcow2 image, and its recipe says raw");
  if (sizeBytes % BigInt(SECTOR_BYTES) !== 0n) throw refused(file, `has ${sizeBytes} bytes, no multiple of 512`);
  return requireSize(file, sizeBytes);
}

function requireSize(file: string, sizeBytes: bigint): number {
  if (sizeBytes === 0n) throw refused(file, "is empty");
  const maxBytes = MAX_IMAGE_MIB * MIB;
  if (sizeBytes <= BigInt(maxBytes)) return Number(sizeBytes);
  const problem = `has a virtual size of ${sizeBytes / BigInt(MIB)} MiB, more than MAX_IMAGE_MIB (${MAX_IMAGE_MIB})`;
  throw refused(file, problem);
}

function keyOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
}

/** @param problem continues "image FILE ..." */
function refused(file: string, problem: string, cause?: unknown): VmSubstrateError {
  const way = "copy it with qemu-img convert into a qcow2 or raw image that stands alone";
  const message = `image ${file} ${problem}; no tool was given it. If it is yours, ${way}`;
  return new VmSubstrateError("DISK_IMAGE_REFUSED", message, { cause, details: { file, problem } });
}
