import { mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createOverlay, qcow2Objection, qcow2VirtualSize } from "../../lib/host/index.ts";

const CLUSTER = 65_536;
const GIB = 2 ** 30;
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qcow2-"));
});
afterEach(() => rm(dir, { recursive: true }));

describe("createOverlay", () => {
  it("writes a header that reads back", async () => {
    const file = join(dir, "overlay");
    const backing = '/state/a "b", c/ü.qcow2';
    await createOverlay(file, backing, 10 * GIB + 512);
    const image = await readFile(file);
    const u64 = (at: number) => Number(image.readBigUInt64BE(at));
    expect(image.subarray(0, 4).toString("latin1")).toBe("QFI\xfb");
    expect(image.readUInt32BE(4)).toBe(3);
    expect(image.subarray(u64(8), u64(8) + image.readUInt32BE(16)).toString()).toBe(backing);
    expect(2 ** image.readUInt32BE(20)).toBe(CLUSTER);
    expect(u64(24)).toBe(10 * GIB + 512);
    expect(image.readUInt32BE(32)).toBe(0); // not encrypted
    // One entry of the L1 table stands for 512 MiB.
    expect(image.readUInt32BE(36)).toBe(21);
    for (const table of [u64(40), u64(48)]) {
      expect(table % CLUSTER).toBe(0);
      expect(table).toBeLessThan(image.length);
    }
    expect(image.readUInt32BE(56)).toBe(1);
    expect(u64(72)).toBe(0); // no incompatible features: neither dirty, corrupt, nor an external data file
    expect(image.readUInt32BE(100)).toBe(104);
  });

  it("names the backing file's format, so that none is probed", async () => {
    const file = join(dir, "overlay");
    await createOverlay(file, "/b", GIB);
    const image = await readFile(file);
    expect(image.readUInt32BE(104)).toBe(0xe2792aca);
    expect(image.subarray(112, 112 + image.readUInt32BE(108)).toString()).toBe("qcow2");
    expect(image.readUInt32BE(120)).toBe(0); // the end of the extensions
  });

  it("counts a reference for each of its clusters and none else", async () => {
    const file = join(dir, "overlay");
    await createOverlay(file, "/b", GIB);
    const image = await readFile(file);
    expect(image.length).toBe(4 * CLUSTER);
    const refcountBlock = Number(image.readBigUInt64BE(Number(image.readBigUInt64BE(48))));
    const counts = Array.from({ length: CLUSTER / 2 }, (_, i) => image.readUInt16BE(refcountBlock + 2 * i));
    expect(counts.slice(0, 4)).toEqual([1, 1, 1, 1]);
    expect(counts.slice(4).every((count) => count === 0)).toBe(true);
    const l1 = Number(image.readBigUInt64BE(40));
    expect(image.subarray(l1).every((byte) => byte === 0)).toBe(true); // everything comes from below
  });

  it("is private and takes little room", async () => {
    const file = join(dir, "overlay");
    await createOverlay(file, "/b", GIB);
    const { mode, blocks } = await stat(file);
    expect(mode & 0o777).toBe(0o600);
    expect(blocks * 512).toBeLessThan(4 * CLUSTER);
  });

  it("never writes into what is there, nor through a symlink", async () => {
    await writeFile(join(dir, "victim"), "precious");
    await symlink(join(dir, "victim"), join(dir, "link"));
    for (const name of ["victim", "link"]) {
      await expect(createOverlay(join(dir, name), "/b", GIB)).rejects.toMatchObject({ code: "EEXIST" });
    }
    expect(await readFile(join(dir, "victim"), "utf8")).toBe("precious");
  });

  it("refuses a backing file's name that the format has no room for", async () => {
    const overlay = (bytes: number) => createOverlay(join(dir, `o${bytes}`), "b".repeat(bytes), GIB);
    await overlay(1023);
    await expect(overlay(1024)).rejects.toMatchObject({ code: "PATH_TOO_LONG" });
  });
});

describe("qcow2VirtualSize", () => {
  it("reads what createOverlay wrote", async () => {
    await createOverlay(join(dir, "o"), "/b", 12_345_678_848);
    expect(await qcow2VirtualSize(join(dir, "o"))).toBe(12_345_678_848);
  });

  it.each([
    ["nothing", ""],
    ["too little", "QFI\xfb"],
    ["something else", "x".repeat(200)],
  ])("refuses a file with %s", async (_, content) => {
    await writeFile(join(dir, "f"), content, "latin1");
    await expect(qcow2VirtualSize(join(dir, "f"))).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT" });
  });
});

describe("qcow2Objection", () => {
  /** An image that stands alone, changed. */
  async function objection(change: (header: Buffer) => void): Promise<string | undefined> {
    const file = join(dir, "image");
    await rm(file, { force: true });
    await createOverlay(file, "/b", GIB);
    const image = await readFile(file);
    image.fill(0, 8, 20); // no backing file
    change(image);
    await writeFile(file, image);
    return qcow2Objection(file);
  }

  it("has none to an image that reads no other file", async () => {
    expect(await objection(() => {})).toBeUndefined();
    expect(await objection((image) => image.writeBigUInt64BE(0b1_1000n, 72))).toBeUndefined();
  });

  it.each<[string, (image: Buffer) => void]>([
    ["has a backing file", (image) => image.writeBigUInt64BE(136n, 8)],
    ["is encrypted", (image) => image.writeUInt32BE(2, 32)],
    ["is a qcow2 image of version 2", (image) => image.writeUInt32BE(2, 4)],
    ["is not a qcow2 image", (image) => image.write("raw!", 0)],
    ["has the features 0x1 ", (image) => image.writeBigUInt64BE(1n, 72)],
    ["has the features 0x4 ", (image) => image.writeBigUInt64BE(4n, 72)],
    ["has the features 0x8000000000000000 ", (image) => image.writeBigUInt64BE(1n << 63n, 72)],
  ])("to one that %s", async (problem, change) => {
    expect(await objection(change)).toContain(problem);
  });

  it("to one that is too short for a header", async () => {
    await writeFile(join(dir, "short"), "QFI");
    expect(await qcow2Objection(join(dir, "short"))).toBe("is not a qcow2 image");
  });
});
