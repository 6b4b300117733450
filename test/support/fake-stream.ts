/** A page of a migration stream, for `fakeStream`. */
export interface FakePage {
  readonly block: string;
  readonly address: number;
  /** What the page is filled with. */
  readonly fill: number;
}

const PAGE_BYTES = 4096;
const RAM_ID = 2;
const FLAGS = { zero: 0x02, memSize: 0x04, page: 0x08, end: 0x10, continues: 0x20 } as const;

/** What a stream of QEMU 7.2 with `x-ignore-shared` looks like: RAM in sections, then devices. */
export function fakeStream(
  blocks: Readonly<Record<string, number>>,
  rounds: readonly (readonly FakePage[])[],
  devices = "devices",
): Buffer {
  const total = Object.values(blocks).reduce((sum, bytes) => sum + bytes, 0);
  const list = Object.entries(blocks).map(([name, bytes]) => Buffer.concat([named(name), word(bytes), word(0)]));
  let last = "";
  const records = (pages: readonly FakePage[]) =>
    pages.map(({ block, address, fill }) => {
      const flags = (fill === 0 ? FLAGS.zero : FLAGS.page) | (block === last ? FLAGS.continues : 0);
      const name = block === last ? Buffer.alloc(0) : named(block);
      last = block;
      return Buffer.concat([word(address + flags), name, Buffer.alloc(fill === 0 ? 1 : PAGE_BYTES, fill)]);
    });
  const section = (type: number, content: readonly Buffer[]) =>
    Buffer.concat([Buffer.from([type]), int(RAM_ID), ...content, word(FLAGS.end), Buffer.from([0x7e]), int(RAM_ID)]);
  const start = Buffer.concat([named("ram"), int(0), int(4), word(total + FLAGS.memSize), ...list]);
  return Buffer.concat([
    Buffer.from("QEVM"),
    int(3),
    Buffer.from("\x07configuration"),
    section(1, [start]),
    ...rounds.map((pages, i) => section(i === rounds.length - 1 ? 3 : 2, records(pages))),
    Buffer.from(`\x04${devices}`),
  ]);
}

function named(text: string): Buffer {
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}
