import { describe, expect, it } from "vitest";
import { MigrationStream } from "../../lib/substrate/migration-stream.ts";
import { type FakePage, fakeStream } from "../support/fake-stream.ts";

const BLOCKS = { ram0: 8 * 4096, "pc.bios": 2 * 4096 };
const ROUNDS: FakePage[][] = [
  [
    { block: "ram0", address: 0, fill: 1 },
    { block: "ram0", address: 4096, fill: 0 },
    { block: "pc.bios", address: 0, fill: 7 },
    { block: "pc.bios", address: 4096, fill: 0 },
    { block: "ram0", address: 8192, fill: 2 },
  ],
  [
    { block: "ram0", address: 0, fill: 3 },
    { block: "pc.bios", address: 0, fill: 8 },
  ],
];

function read(stream: Buffer, chunkBytes: number) {
  const pages: string[] = [];
  const rest: Buffer[] = [];
  const reader = new MigrationStream("ram0", {
    page: (address, bytes) => pages.push(`${address}: ${bytes?.[0] ?? 0} ${bytes?.length ?? 0}`),
    rest: (bytes) => rest.push(Buffer.from(bytes)),
  });
  for (let at = 0; at < stream.length; at += chunkBytes) reader.push(stream.subarray(at, at + chunkBytes));
  return { sizeBytes: reader.end(), pages, rest: Buffer.concat(rest) };
}

describe("the reader of migration streams", () => {
  it.each([1, 7, 4095, 4104, 100_000])("parts RAM from the rest, in chunks of %i bytes", (chunkBytes) => {
    const { sizeBytes, pages, rest } = read(fakeStream(BLOCKS, ROUNDS), chunkBytes);
    expect(sizeBytes).toBe(8 * 4096);
    expect(pages).toEqual(["0: 1 4096", "4096: 0 0", "8192: 2 4096", "0: 3 4096"]);
    const without = ROUNDS.map((pagesOfRound) => pagesOfRound.filter(({ block }) => block !== "ram0"));
    const [first = [], second = []] = without;
    // A record says that it goes on in the same block only after one of that block, also once the others are gone.
    expect(rest.toString("latin1")).toBe(
      fakeStream(BLOCKS, [first, [{ ...second[0], block: "pc.bios" } as FakePage]])
        .toString("latin1")
        .replace(word(0x28), `${word(0x08)}\x07pc.bios`),
    );
  });

  it.each([
    ["is cut off in RAM", (stream: Buffer) => stream.subarray(0, 200)],
    ["is none", () => Buffer.from("no stream at all")],
    ["is empty", () => Buffer.alloc(0)],
    ["has a page outside of its block", () => fakeStream(BLOCKS, [[{ block: "ram0", address: 8 * 4096, fill: 1 }]])],
    ["has no such block", () => fakeStream({ other: 4096 }, [[]])],
  ])("refuses what %s", (_, change) => {
    expect(() => read(change(fakeStream(BLOCKS, ROUNDS)), 64)).toThrow(
      expect.objectContaining({ code: "FORK_FAILED" }),
    );
  });
});

function word(value: number): string {
  return String.fromCharCode(0, 0, 0, 0, 0, 0, 0, value);
}
