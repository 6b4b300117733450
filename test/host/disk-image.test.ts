import { execFile } from "node:child_process";
import { mkdir, mkdtemp, open, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type DiskFormat, DiskImage, MAX_IMAGE_MIB, qcow2Objection, qcow2VirtualSize } from "../../lib/host/index.ts";

const run = promisify(execFile);
const MIB = 2 ** 20;

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "image-"));
});
afterEach(() => rm(dir, { recursive: true }));

const path = (name: string) => join(dir, name);

async function qcow2(name = "disk.qcow2", ...options: string[]): Promise<string> {
  await run("qemu-img", ["create", "-q", "-f", "qcow2", ...options, path(name), "8M"]);
  return path(name);
}

/** Writes numbers over an image's header. */
async function patched(file: string, offset: number, bytes: Buffer): Promise<string> {
  await using handle = await open(file, "r+");
  await handle.write(bytes, 0, bytes.length, offset);
  return file;
}

function bigEndian64(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(value);
  return buffer;
}

const refusal = (file: string, format: DiskFormat, why: RegExp) =>
  expect(DiskImage.open(file, format)).rejects.toMatchObject({
    code: "DISK_IMAGE_REFUSED",
    message: expect.stringMatching(why),
    details: { file },
  });

describe("an image of the user's", () => {
  it("is opened when it stands alone, whatever its version", async () => {
    for (const options of [[], ["-o", "compat=0.10"], ["-o", "compression_type=zstd"], ["-o", "extended_l2=on"]]) {
      await using image = await DiskImage.open(await qcow2("some.qcow2", ...options), "qcow2");
      expect(image.virtualSizeBytes).toBe(8 * MIB);
      await rm(path("some.qcow2"));
    }
    await truncate(await raw(0), 4 * MIB);
    await using image = await DiskImage.open(path("disk.raw"), "raw");
    expect(image.virtualSizeBytes).toBe(4 * MIB);
  });

  it("is copied into a qcow2 that stands alone, and stays as it was", async () => {
    const content = Buffer.alloc(MIB, "sector");
    await writeFile(path("disk.raw"), content);
    const source = path("disk, with a comma.qcow2");
    await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", path("disk.raw"), source]);
    const before = await readFile(source);
    for (const [file, format] of [
      [path("disk.raw"), "raw"],
      [source, "qcow2"],
    ] as const) {
      await using image = await DiskImage.open(file, format);
      const copy = path(`copy-of-${format}`);
      await image.copyTo(copy, undefined);
      expect(await qcow2Objection(copy)).toBeUndefined();
      expect(await qcow2VirtualSize(copy)).toBe(MIB);
      await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", copy, path("back")]);
      expect((await readFile(path("back"))).equals(content)).toBe(true);
    }
    expect((await readFile(source)).equals(before)).toBe(true);
  });

  it("is the file that was looked at, whatever has its name when it is copied", async () => {
    await writeFile(path("disk.raw"), Buffer.alloc(MIB, "mine"));
    await using image = await DiskImage.open(path("disk.raw"), "raw");
    await writeFile(path("other"), Buffer.alloc(MIB, "other"));
    await rm(path("disk.raw"));
    await symlink(path("other"), path("disk.raw"));
    // The link count has changed with it, and so the time of the last change: it is refused, and never the other file.
    await expect(image.copyTo(path("copy"), undefined)).rejects.toMatchObject({ code: "RECIPE_FAILED" });
    await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", path("copy"), path("back")]);
    expect((await readFile(path("back"))).includes("other")).toBe(false);
  });

  it("has another key when it was written to", async () => {
    const file = await raw(MIB);
    const key = async () => {
      await using image = await DiskImage.open(file, "raw");
      return image.key;
    };
    const before = await key();
    expect(await key()).toBe(before);
    await patched(file, 0, Buffer.from("changed"));
    expect(await key()).not.toBe(before);
  });
});

async function raw(sizeBytes: number): Promise<string> {
  await writeFile(path("disk.raw"), "");
  await truncate(path("disk.raw"), sizeBytes);
  return path("disk.raw");
}

describe("refused, before any tool opens it, is", () => {
  it("a backing file, of whatever format it says to be", async () => {
    await writeFile(path("secret"), Buffer.alloc(MIB, "secret"));
    await refusal(await qcow2("a.qcow2", "-b", path("secret"), "-F", "raw"), "qcow2", /has a backing file/);
    await refusal(await qcow2("b.qcow2", "-b", await qcow2("base.qcow2"), "-F", "qcow2"), "qcow2", /backing file/);
  });

  it("an external data file", async () => {
    await refusal(await qcow2("a.qcow2", "-o", `data_file=${path("data")}`), "qcow2", /external data file/);
  });

  it("an encrypted one, by AES or LUKS", async () => {
    await refusal(await patched(await qcow2("a.qcow2"), 32, Buffer.from([0, 0, 0, 1])), "qcow2", /is encrypted/);
    await refusal(await patched(await qcow2("b.qcow2"), 32, Buffer.from([0, 0, 0, 2])), "qcow2", /is encrypted/);
  });

  it("an unknown version, and unknown features", async () => {
    await refusal(
      await patched(await qcow2("a.qcow2"), 4, Buffer.from([0, 0, 0, 4])),
      "qcow2",
      /version 4, not 2 or 3/,
    );
    await refusal(await patched(await qcow2("b.qcow2"), 4, Buffer.from([0, 0, 0, 1])), "qcow2", /version 1/);
    await refusal(await patched(await qcow2("c.qcow2"), 72, bigEndian64(1n << 40n)), "qcow2", /features 0x10000000000/);
  });

  it("one that is damaged, or was not closed", async () => {
    for (const bit of [1n, 2n]) {
      const file = await patched(await qcow2("a.qcow2"), 72, bigEndian64(bit));
      await refusal(file, "qcow2", /features/);
      await rm(file);
    }
  });

  it.each([0, 3, 4, 103])("a header of %i bytes", async (sizeBytes) => {
    const file = await qcow2();
    await truncate(file, sizeBytes);
    await refusal(file, "qcow2", /is not a qcow2 image/);
  });

  it("a raw image that is given as qcow2, and the other way round", async () => {
    await refusal(await raw(MIB), "qcow2", /is not a qcow2 image/);
    await refusal(await qcow2(), "raw", /is a qcow2 image, and its recipe says raw/);
  });

  it("what is no regular file", async () => {
    await mkdir(path("folder"));
    await refusal(path("folder"), "raw", /is not a regular file/);
    await run("mkfifo", [path("pipe")]);
    await refusal(path("pipe"), "qcow2", /is not a regular file/);
    await symlink(await raw(MIB), path("link"));
    await refusal(path("link"), "raw", /cannot be opened \(ELOOP/);
    await refusal("/dev/null", "raw", /is not a regular file/);
    await refusal(path("nothing"), "raw", /cannot be opened \(ENOENT/);
  });

  it("a raw image of no or half a sector", async () => {
    await refusal(await raw(0), "raw", /is empty/);
    await refusal(await raw(1000), "raw", /no multiple of 512/);
  });

  it("a virtual size above the limit, and it is named", async () => {
    const tooLarge = /virtual size of 10485760 MiB, more than MAX_IMAGE_MIB \(1048576\)/;
    const tenTiB = 10n * 1024n ** 4n;
    await refusal(await patched(await qcow2(), 24, bigEndian64(tenTiB)), "qcow2", tooLarge);
    await refusal(await patched(path("disk.qcow2"), 24, bigEndian64(2n ** 64n - 1n)), "qcow2", /MAX_IMAGE_MIB/);
    await refusal(await raw(Number(tenTiB)), "raw", tooLarge);
    await patched(path("disk.qcow2"), 24, bigEndian64(BigInt(MAX_IMAGE_MIB * MIB)));
    await using image = await DiskImage.open(path("disk.qcow2"), "qcow2");
    expect(image.virtualSizeBytes).toBe(MAX_IMAGE_MIB * MIB);
  });
});
