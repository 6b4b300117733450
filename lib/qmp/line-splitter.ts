const NEWLINE = 0x0a;
const FIRST_CAPACITY = 4096;

/** Thrown by `LineSplitter.push`; never leaves this folder. */
export class LineTooLongError extends Error {
  readonly maxLineBytes: number;

  constructor(maxLineBytes: number) {
    super(`a line longer than ${maxLineBytes} bytes`);
    this.maxLineBytes = maxLineBytes;
  }
}

/**
 * Cuts a byte stream into newline-terminated lines, in time linear in the input.
 *
 * The unfinished line lives in one buffer that doubles: string concatenation is quadratic (20 MB without a newline
 * blocked the event loop for 20 s and more), and a list of chunks costs ~200 bytes a chunk, which a peer that drips
 * single bytes would turn into a 200-fold amplification.
 */
export class LineSplitter {
  #partial: Buffer = Buffer.alloc(0);
  #partialBytes = 0;

  /** Bytes of the unfinished line, for tests and limits. */
  get pendingBytes(): number {
    return this.#partialBytes;
  }

  /**
   * Takes a chunk and hands each line that it completes to `onLine`, without the newline, as a buffer of its own
   * or a view of the chunk; neither is written to again. `onLine` returns false to drop the rest of the chunk.
   *
   * @throws LineTooLongError when a line, finished or not, exceeds `maxLineBytes()`, which is asked again for every line
   */
  push(chunk: Buffer, maxLineBytes: () => number, onLine: (line: Buffer) => boolean): void {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      const piece = chunk.subarray(start, end === -1 ? chunk.length : end);
      const cap = maxLineBytes();
      if (this.#partialBytes + piece.length > cap) throw new LineTooLongError(cap);
      if (end === -1) {
        this.#append(piece);
        return;
      }
      if (!onLine(this.#finish(piece))) return;
      start = end + 1;
    }
  }

  #finish(piece: Buffer): Buffer {
    if (this.#partialBytes === 0) return piece;
    this.#append(piece);
    const line = this.#partial.subarray(0, this.#partialBytes);
    this.#partial = Buffer.alloc(0);
    this.#partialBytes = 0;
    return line;
  }

  #append(piece: Buffer): void {
    const needed = this.#partialBytes + piece.length;
    if (needed > this.#partial.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(FIRST_CAPACITY, this.#partial.length * 2, needed));
      this.#partial.copy(grown, 0, 0, this.#partialBytes);
      this.#partial = grown;
    }
    piece.copy(this.#partial, this.#partialBytes);
    this.#partialBytes = needed;
  }
}
