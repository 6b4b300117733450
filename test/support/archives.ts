import { readFile, writeFile } from "node:fs/promises";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { extract, type Header, pack } from "tar-stream";

/** An entry of a tar, as a test wants it. */
export interface TestEntry {
  readonly header: Partial<Header> & Pick<Header, "name">;
  readonly content: Buffer;
}

export async function readEntries(archive: string): Promise<TestEntry[]> {
  const tar = extract();
  tar.end(zstdDecompressSync(await readFile(archive)));
  const entries: TestEntry[] = [];
  for await (const entry of tar) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
    const { name, mode, type } = entry.header;
    entries.push({ header: { name, mode, type }, content: Buffer.concat(chunks) });
  }
  return entries;
}

/** Any tar at all, also what no export would write. */
export async function tarOf(entries: readonly TestEntry[]): Promise<Buffer> {
  const tar = pack();
  const chunks: Buffer[] = [];
  const read = (async () => {
    for await (const chunk of tar) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  })();
  for (const { header, content } of entries) tar.entry({ ...header }, content);
  tar.finalize();
  await read;
  return Buffer.concat(chunks);
}

export async function writeEntries(archive: string, entries: readonly TestEntry[]): Promise<void> {
  await writeFile(archive, zstdCompressSync(await tarOf(entries)));
}

export function testEntry(name: string, content: Buffer | string = "", header: Partial<Header> = {}): TestEntry {
  return { header: { name, mode: 0o400, ...header }, content: Buffer.from(content) };
}
