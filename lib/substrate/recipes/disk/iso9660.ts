const SECTOR_BYTES = 2048;
/** The first 16 sectors are the system's. Then come descriptors, path tables, the root folder, and the files. */
const PRIMARY = 16;
const TERMINATOR = 17;
const PATH_TABLE_LE = 18;
const PATH_TABLE_BE = 19;
const ROOT = 20;
const FIRST_FILE = 21;
const PATH_TABLE_BYTES = 10;
const FOLDER = 0b10;

export interface IsoFile {
  /** Lower case in the guest: Linux shows a plain ISO 9660 so. */
  readonly name: string;
  readonly content: string;
}

interface Placed {
  readonly name: string;
  readonly sector: number;
  readonly bytes: Buffer;
}

/**
 * A read-only file system with a few small files in its root, the same bytes for the same files: ISO 9660 without
 * extensions. Source: ECMA-119; Linux' fs/isofs for what names become.
 */
export function isoImage(label: string, files: readonly IsoFile[]): Buffer {
  let next = FIRST_FILE;
  const placed = files.map(({ name, content }): Placed => {
    const sector = next;
    const bytes = Buffer.from(content);
    next += Math.max(1, Math.ceil(bytes.length / SECTOR_BYTES));
    return { name: `${name.toUpperCase()}.;1`, sector, bytes };
  });
  const image = Buffer.alloc(next * SECTOR_BYTES);
  const at = (sector: number) => image.subarray(sector * SECTOR_BYTES);
  writePrimary(at(PRIMARY), label, next);
  at(TERMINATOR).write("\xffCD001\x01", "latin1");
  writePathTable(at(PATH_TABLE_LE), (buffer) => buffer.writeUInt32LE(ROOT, 2), [1, 0]);
  writePathTable(at(PATH_TABLE_BE), (buffer) => buffer.writeUInt32BE(ROOT, 2), [0, 1]);
  const entries = placed
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, sector, bytes }) => record(name, sector, bytes.length, 0));
  const folder = Buffer.concat([record("\0", ROOT, SECTOR_BYTES, FOLDER), record("\x01", ROOT, SECTOR_BYTES, FOLDER)]);
  Buffer.concat([folder, ...entries]).copy(at(ROOT));
  for (const { sector, bytes } of placed) bytes.copy(at(sector));
  return image;
}

function writePrimary(sector: Buffer, label: string, sectors: number): void {
  sector.write("\x01CD001\x01", "latin1");
  sector.fill(" ", 8, 72);
  sector.write(label, 40, "latin1");
  bothEndian32(sector, 80, sectors);
  bothEndian16(sector, 120, 1); // volumes of the set
  bothEndian16(sector, 124, 1); // this one's number
  bothEndian16(sector, 128, SECTOR_BYTES);
  bothEndian32(sector, 132, PATH_TABLE_BYTES);
  sector.writeUInt32LE(PATH_TABLE_LE, 140);
  sector.writeUInt32BE(PATH_TABLE_BE, 148);
  record("\0", ROOT, SECTOR_BYTES, FOLDER).copy(sector, 156);
  sector.fill(" ", 190, 813);
  for (const date of [813, 830, 847, 864]) sector.write("0".repeat(16), date, "latin1"); // not specified
  sector.writeUInt8(1, 881); // version of the structure of files
}

/** One folder, the root, which is its own parent. */
function writePathTable(sector: Buffer, place: (buffer: Buffer) => void, parent: readonly [number, number]): void {
  sector.writeUInt8(1, 0);
  place(sector);
  Buffer.from(parent).copy(sector, 6);
}

function record(name: string, sector: number, sizeBytes: number, flags: number): Buffer {
  const length = 33 + name.length;
  const buffer = Buffer.alloc(length + (length % 2));
  buffer.writeUInt8(buffer.length, 0);
  bothEndian32(buffer, 2, sector);
  bothEndian32(buffer, 10, sizeBytes);
  buffer.writeUInt8(flags, 25);
  bothEndian16(buffer, 28, 1);
  buffer.writeUInt8(name.length, 32);
  buffer.write(name, 33, "latin1");
  return buffer;
}

function bothEndian16(buffer: Buffer, offset: number, value: number): void {
  buffer.writeUInt16LE(value, offset);
  buffer.writeUInt16BE(value, offset + 2);
}

function bothEndian32(buffer: Buffer, offset: number, value: number): void {
  buffer.writeUInt32LE(value, offset);
  buffer.writeUInt32BE(value, offset + 4);
}
