import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { CHUNK_BYTES, type SparseCopy, writePages } from "./sparse-file.ts";

/** Writes a new file from pieces of any size, with holes where pages are zero, and digests it on the way. */
export class SparseWriter implements AsyncDisposable {
  readonly #target: FileHandle;
  readonly #hash = createHash("sha256");
  /** Pages are looked at where they are in the file, which pieces need not respect. */
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #filled = 0;
  #position = 0;
  #residentBytes = 0;

  private constructor(target: FileHandle) {
    this.#target = target;
  }

  /** An existing file is an error, so that nobody's planted file is written into. */
  static async create(path: string): Promise<SparseWriter> {
    return new SparseWriter(await open(path, "wx", 0o600));
  }

  /** Bytes of pages that are not zero, as far as they were written. */
  get residentBytes(): number {
    return this.#residentBytes;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + CHUNK_BYTES - this.#filled);
      this.#chunk.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled === CHUNK_BYTES) await this.#flush();
    }
  }

  /** Writes the rest, and puts all of it on the disk. */
  async finish(): Promise<SparseCopy> {
    await this.#flush();
    await this.#target.truncate(this.#position); // a hole at the end
    await this.#target.sync();
    return { sha256: this.#hash.digest("hex"), sizeBytes: this.#position, residentBytes: this.#residentBytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#target.close();
  }

  async #flush(): Promise<void> {
    const bytes = this.#chunk.subarray(0, this.#filled);
    this.#residentBytes += await writePages(this.#target, bytes, this.#position);
    this.#position += this.#filled;
    this.#filled = 0;
  }
}
