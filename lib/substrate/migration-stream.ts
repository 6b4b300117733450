import { VmSubstrateError } from "../core/index.ts";
import { PAGE_BYTES } from "./sparse-file.ts";

/** What takes the two halves of a stream; each buffer is only good until the call returns. */
export interface StreamSink {
  /** A page of the block that was asked for, as often as it was sent; undefined for one that is all zero. */
  page(address: number, bytes: Buffer | undefined): void;
  /** All else, in its order: a stream that is loaded by a VM which has the block's pages already. */
  rest(bytes: Buffer): void;
}

const MAGIC = 0x5145564d; // "QEVM"
const SECTION_START = 0x01;
const SECTION_PART = 0x02;
const SECTION_END = 0x03;
const SECTION_FOOTER = 0x7e;
/** Length and name of RAM's section, its instance and its version. */
const RAM_SECTION = Buffer.from([3, ...Buffer.from("ram"), 0, 0, 0, 0, 0, 0, 0, 4]);
const FLAG_ZERO = 0x02;
const FLAG_MEM_SIZE = 0x04;
const FLAG_PAGE = 0x08;
const FLAG_END = 0x10;
const FLAG_CONTINUE = 0x20;
const FLAGS = 0xfff;
const WORD_BYTES = 8;
/** Type and id. */
const SECTION_HEADER_BYTES = 5;
/** Machine and capabilities come before RAM: a few hundred bytes. */
const HEAD_MAX_BYTES = 65_536;

/** Where the reader is: before RAM, between sections of RAM, inside of one, after the last of them. */
type Place = "head" | "between" | "inside" | "after";

/**
 * Takes the pages of one RAM block out of a migration stream that was saved with `x-ignore-shared`. Everything else, pages of
 * firmware included, stays in its place: what is left is the stream of a VM whose block is in a shared, named file.
 *
 * Source: QEMU 7.2, migration/savevm.c and migration/ram.c; docs/devel/migration.rst, "Stream structure".
 */
export class MigrationStream {
  readonly #block: string;
  readonly #sink: StreamSink;
  #bytes: Buffer = Buffer.alloc(0);
  #scratch: Buffer = Buffer.alloc(0);
  #place: Place = "head";
  #ramId = 0;
  #isLast = false;
  /** What a record belongs to that does not name its block. */
  #current = "";
  #blockBytes = 0;

  constructor(block: string, sink: StreamSink) {
    this.#block = block;
    this.#sink = sink;
  }

  /** @throws VmSubstrateError FORK_FAILED when it is not such a stream */
  push(chunk: Buffer): void {
    this.#bytes = this.#joined(chunk);
    let at = 0;
    for (;;) {
      const used = this.#take(this.#bytes, at);
      if (used === 0) break;
      at += used;
    }
    this.#bytes = this.#bytes.subarray(at);
  }

  /** What is left of the last chunk and the next one, in one buffer for all of them: thousands of new ones keep the collector busy. */
  #joined(chunk: Buffer): Buffer {
    const left = this.#bytes.length;
    if (left === 0) return chunk;
    const length = left + chunk.length;
    if (this.#scratch.length < length) this.#scratch = Buffer.alloc(2 * length);
    this.#scratch.set(this.#bytes, 0); // it may be the end of the same buffer
    this.#scratch.set(chunk, left);
    return this.#scratch.subarray(0, length);
  }

  /** @returns the block's size in bytes @throws VmSubstrateError FORK_FAILED when the stream was cut off, or has no such block */
  end(): number {
    if (this.#place !== "after") throw damaged(`it ends ${this.#place} RAM`);
    if (this.#blockBytes === 0) throw damaged(`it has no block "${this.#block}"`);
    return this.#blockBytes;
  }

  /** @returns how many bytes were used; 0 when more must come first */
  #take(bytes: Buffer, at: number): number {
    switch (this.#place) {
      case "head":
        return this.#takeHead(bytes);
      case "between":
        return this.#takeHeader(bytes, at);
      case "inside":
        return this.#takeRecord(bytes, at);
      case "after":
        if (at < bytes.length) this.#sink.rest(bytes.subarray(at));
        return bytes.length - at;
    }
  }

  /** From the beginning to the end of RAM's first section, which lists the blocks. */
  #takeHead(bytes: Buffer): number {
    if (bytes.length >= 4 && bytes.readUInt32BE(0) !== MAGIC) throw damaged("it does not begin as one");
    const name = bytes.indexOf(RAM_SECTION);
    if (name < 0 || bytes.length < name + RAM_SECTION.length + WORD_BYTES) {
      if (bytes.length > HEAD_MAX_BYTES) throw damaged("there is no RAM in it");
      return 0;
    }
    if (bytes[name - SECTION_HEADER_BYTES] !== SECTION_START)
      throw damaged("RAM does not begin with its list of blocks");
    this.#ramId = bytes.readUInt32BE(name - 4);
    let at = name + RAM_SECTION.length;
    const total = wordAt(bytes, at);
    if ((total.flags & FLAG_MEM_SIZE) === 0) throw damaged("RAM does not begin with its size");
    at += WORD_BYTES;
    for (let left = total.address; left > 0; ) {
      const nameLength = bytes[at] ?? 0;
      const size = at + 1 + nameLength;
      if (bytes.length < size + 2 * WORD_BYTES) return 0;
      const block = bytes.toString("latin1", at + 1, size);
      const blockBytes = Number(bytes.readBigUInt64BE(size));
      if (block === this.#block) this.#blockBytes = blockBytes;
      left -= blockBytes;
      at = size + 2 * WORD_BYTES; // and where it is in the guest
    }
    if (bytes.length < at + WORD_BYTES + SECTION_HEADER_BYTES) return 0;
    if (wordAt(bytes, at).flags !== FLAG_END) throw damaged("the list of blocks does not end");
    at += WORD_BYTES;
    this.#requireFooter(bytes, at);
    at += SECTION_HEADER_BYTES;
    this.#sink.rest(bytes.subarray(0, at));
    this.#place = "between";
    return at;
  }

  #takeHeader(bytes: Buffer, at: number): number {
    if (bytes.length < at + SECTION_HEADER_BYTES) return 0;
    const type = bytes[at];
    if ((type !== SECTION_PART && type !== SECTION_END) || bytes.readUInt32BE(at + 1) !== this.#ramId) {
      throw damaged(`a section of type ${type} is between those of RAM`);
    }
    this.#isLast = type === SECTION_END;
    this.#sink.rest(bytes.subarray(at, at + SECTION_HEADER_BYTES));
    this.#place = "inside";
    return SECTION_HEADER_BYTES;
  }

  #takeRecord(bytes: Buffer, start: number): number {
    if (bytes.length < start + WORD_BYTES) return 0;
    const { flags, address } = wordAt(bytes, start);
    let at = start + WORD_BYTES;
    if (flags === FLAG_END) {
      if (bytes.length < at + SECTION_HEADER_BYTES) return 0;
      this.#requireFooter(bytes, at);
      at += SECTION_HEADER_BYTES;
      this.#sink.rest(bytes.subarray(start, at));
      this.#place = this.#isLast ? "after" : "between";
      return at - start;
    }
    let block = this.#current;
    if ((flags & FLAG_CONTINUE) === 0) {
      if (bytes.length < at + 1) return 0;
      const end = at + 1 + (bytes[at] ?? 0);
      if (bytes.length < end) return 0;
      block = bytes.toString("latin1", at + 1, end);
      at = end;
    }
    const kind = flags & ~FLAG_CONTINUE;
    if (kind !== FLAG_ZERO && kind !== FLAG_PAGE) throw damaged(`a page has the flags 0x${flags.toString(16)}`);
    const end = at + (kind === FLAG_PAGE ? PAGE_BYTES : 1);
    if (bytes.length < end) return 0;
    this.#current = block;
    if (block !== this.#block) this.#sink.rest(bytes.subarray(start, end));
    else if (address + PAGE_BYTES > this.#blockBytes) throw damaged(`a page at ${address} is outside of its block`);
    else this.#sink.page(address, kind === FLAG_PAGE ? bytes.subarray(at, end) : this.#zero(bytes[at]));
    return end - start;
  }

  /** Pages that are filled with one byte are sent as such; QEMU only does so with zero. */
  #zero(fill: number | undefined): undefined {
    if (fill !== 0) throw damaged(`a page is filled with ${fill}`);
    return undefined;
  }

  #requireFooter(bytes: Buffer, at: number): void {
    if (bytes[at] !== SECTION_FOOTER || bytes.readUInt32BE(at + 1) !== this.#ramId) {
      throw damaged("a section of RAM does not end as it should");
    }
  }
}

/** An address and, in its lowest twelve bits, flags. */
function wordAt(bytes: Buffer, at: number): { readonly address: number; readonly flags: number } {
  const low = bytes.readUInt32BE(at + 4);
  return { address: bytes.readUInt32BE(at) * 2 ** 32 + (low - (low & FLAGS)), flags: low & FLAGS };
}

function damaged(problem: string): VmSubstrateError {
  return new VmSubstrateError("FORK_FAILED", `QEMU's migration stream cannot be read: ${problem}`);
}
