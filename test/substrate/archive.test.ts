import { mkdir, readdir, readFile, rename, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createOverlay, ensurePrivateDir } from "../../lib/host/index.ts";
import { runTool } from "../../lib/host/run-tool.ts";
import { type ArchiveProgress, Catalog, unpackArchive, writeArchive } from "../../lib/substrate/index.ts";
import { copySparse } from "../../lib/substrate/sparse-file.ts";
import { replaced, TAMPERINGS, withManifest } from "../support/archive-tamperings.ts";
import { readEntries, type TestEntry, tarOf, writeEntries } from "../support/archives.ts";
import { FakeHost } from "../support/fake-host.ts";
import { FAKE_QEMU } from "../support/fake-qemu-control.ts";
import { addFakeSubstrate, rewrite } from "../support/fake-substrate.ts";
import { IoFaults } from "../support/io-faults.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

const NAMES = ["manifest.json", "state", "helper", "vmlinuz", "initrd", "disk.qcow2", "ram"];
const MIB = 2 ** 20;
let host: FakeHost;
let archive = "";
beforeEach(async () => {
  host = await FakeHost.create();
  await addFakeSubstrate(host.paths);
  archive = join(host.paths.stateDir, "fake.tar.zst");
});
afterEach(() => host[Symbol.asyncDispose]());

interface Options {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ArchiveProgress) => void;
}

async function write({ signal, onProgress }: Options = {}, file = archive): Promise<number> {
  const substrate = await new Catalog(host.paths).latest("fake");
  return writeArchive(substrate, file, { signal, onProgress });
}

async function unpack({ signal, onProgress }: Options = {}, file = archive) {
  const qemu = { path: host.qemu.path, ...FAKE_QEMU };
  return unpackArchive(file, { paths: host.paths, qemu, signal, onProgress });
}

const besideArchive = () => readdir(host.paths.stateDir);

describe("writeArchive", () => {
  it("writes one private file with the manifest first, which any tar can read", async () => {
    const sizeBytes = await write();
    expect((await stat(archive)).mode & 0o777).toBe(0o600);
    expect((await stat(archive)).size).toBe(sizeBytes);
    const entries = await readEntries(archive);
    expect(entries.map(({ header }) => header.name)).toEqual(NAMES);
    const files = host.paths.substrate("fake", 1);
    for (const [i, file] of [
      files.manifest,
      files.state,
      files.helper,
      files.kernel,
      files.initrd,
      files.disk,
      files.ram,
    ].entries()) {
      expect(entries[i]?.content.equals(await readFile(file)), file).toBe(true);
    }
    expect(await besideArchive()).toEqual(["fake.tar.zst", "substrates"]);
  });

  it("takes no room for zeros, and is the same file every time", async () => {
    expect(await write()).toBeLessThan(MIB / 50);
    const first = await readFile(archive);
    await write();
    expect((await readFile(archive)).equals(first)).toBe(true);
  });

  it("reports every file, up to the last byte", async () => {
    const seen: ArchiveProgress[] = [];
    await write({ onProgress: (progress) => seen.push(progress) });
    expect([...new Set(seen.map(({ file }) => file))]).toEqual(["state", "helper", "kernel", "initrd", "disk", "ram"]);
    expect(seen.at(-1)?.bytes).toBe(seen.at(-1)?.totalBytes);
  });

  it.each(["state", "helper", "kernel", "initrd", "disk", "ram"] as const)(
    "makes no archive of a substrate with a damaged %s",
    async (file) => {
      const path = host.paths.substrate("fake", 1)[file];
      const content = await readFile(path);
      const flipped = Buffer.from(content);
      flipped[content.length - 1] = (flipped[content.length - 1] ?? 0) ^ 1;
      for (const damaged of [flipped, content.subarray(1), Buffer.concat([content, Buffer.of(0)])]) {
        await rewrite(path, damaged);
        await expect(write()).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT", details: { file: path } });
      }
      expect(await besideArchive()).toEqual(["substrates"]);
    },
  );

  it("leaves nothing, and what was there, when it is aborted at any file", async () => {
    await writeFile(archive, "precious");
    for (const at of ["state", "helper", "kernel", "initrd", "disk", "ram"] as const) {
      const stopping = new AbortController();
      const onProgress = ({ file }: ArchiveProgress) => {
        if (file === at) stopping.abort();
      };
      await expect(write({ signal: stopping.signal, onProgress }), at).rejects.toMatchObject({ code: "ABORTED" });
      expect(await besideArchive()).toEqual(["fake.tar.zst", "substrates"]);
    }
    await expect(write({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    expect(await readFile(archive, "utf8")).toBe("precious");
    await expectNothingLeft(host.paths);
  });

  it("passes on what a caller's own function throws, and leaves nothing", async () => {
    const onProgress = () => {
      throw new RangeError("mine");
    };
    await expect(write({ onProgress })).rejects.toThrow("mine");
    expect(await besideArchive()).toEqual(["substrates"]);
  });

  it("is refused before anything is written where there is less room than its files take, holes left out", async () => {
    const { ram, dir } = host.paths.substrate("fake", 1);
    await rename(ram, `${ram}.full`);
    await copySparse(`${ram}.full`, ram);
    const sizes = await Promise.all((await readdir(dir)).map(async (name) => (await stat(join(dir, name))).size));
    const refused = write({}, "/proc/fake.tar.zst"); // has no room for anything
    const details = { dir: "/proc", freeBytes: 0, neededBytes: expect.any(Number) };
    const error: unknown = await refused.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "INSUFFICIENT_DISK", details });
    const { neededBytes } = (error as { details: { neededBytes: number } }).details;
    expect(neededBytes).toBeGreaterThan(await write());
    expect(neededBytes).toBeLessThan(sizes.reduce((sum, size) => sum + size, 0) - MIB);
  });

  it("leaves nothing, and what was there, on a disk that becomes full at any of its writes", async () => {
    const faults = await IoFaults.compile(host.paths.stateDir);
    const folder = join(host.paths.stateDir, "archives");
    const file = join(folder, "fake.tar.zst");
    await mkdir(folder);
    await writeFile(file, "before");
    const program = fileURLToPath(new URL("../support/export-child.ts", import.meta.url));
    const task = JSON.stringify({ directories: host.directories, file });
    const argv = [process.execPath, "--disable-warning=ExperimentalWarning", program, task] as const;
    const env = { LD_PRELOAD: faults.library, IO_FAULTS_KIND: "full", IO_FAULTS_AT: "0" };
    const said = (await runTool(argv, { timeoutMs: 30_000, env })).toString().trim().split("\n");
    const results: { outcome: string; there: string[] }[] = said.map((line) => JSON.parse(line));
    const outcomes = results.map(({ outcome }) => outcome);
    expect(outcomes.at(-1)).toBe("written");
    expect(outcomes.length).toBeGreaterThan(3);
    expect(new Set(outcomes.slice(0, -1))).toEqual(new Set(["INSUFFICIENT_DISK"]));
    for (const { there } of results) expect(there).toEqual(["fake.tar.zst"]);
  });

  it("refuses a directory, and a folder that is not there", async () => {
    await expect(write({}, host.paths.stateDir)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(write({}, join(host.paths.stateDir, "none/x"))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("none/x cannot be opened (ENOENT)"),
    });
  });
});

describe("unpackArchive", () => {
  it("gives the same files, sparse and read-only, and removes them when it is disposed", async () => {
    await write();
    const original = host.paths.substrate("fake", 1);
    {
      await using unpacked = await unpack();
      expect(unpacked.manifest).toEqual(await new Catalog(host.paths).latest("fake").then(({ manifest }) => manifest));
      for (const file of ["state", "helper", "kernel", "initrd", "disk", "ram"] as const) {
        expect((await readFile(unpacked.files[file])).equals(await readFile(original[file])), file).toBe(true);
        expect((await stat(unpacked.files[file])).mode & 0o777).toBe(0o400);
      }
      expect((await stat(unpacked.files.ram)).blocks * 512).toBeLessThan(MIB / 8);
      expect(await new Catalog(host.paths).all()).toHaveLength(1);
    }
    await expectNothingLeft(host.paths);
  });

  it("stops when it is aborted at any file, and leaves nothing", async () => {
    await write();
    for (const at of ["state", "helper", "kernel", "initrd", "disk", "ram"] as const) {
      const stopping = new AbortController();
      const onProgress = ({ file }: ArchiveProgress) => {
        if (file === at) stopping.abort();
      };
      await expect(unpack({ signal: stopping.signal, onProgress }), at).rejects.toMatchObject({ code: "ABORTED" });
      await expectNothingLeft(host.paths);
    }
    await expect(unpack({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("an archive of unknown origin", () => {
  beforeEach(() => write());

  it.each(Object.entries(TAMPERINGS))("with %s is refused, and leaves nothing", async (_, tamper) => {
    await writeEntries(archive, await tamper(await readEntries(archive)));
    await expect(unpack()).rejects.toMatchObject({ code: "SUBSTRATE_ARCHIVE_INVALID", details: { file: archive } });
    await expectNothingLeft(host.paths);
  });

  it("with a flipped bit anywhere in the file is refused", async () => {
    const whole = await readFile(archive);
    const content = zstdDecompressSync(whole);
    // A bit in which two ways to write the same meet, such as from which of several zeros a run of them is copied.
    const saysTheSame = (copy: Buffer) => {
      try {
        return zstdDecompressSync(copy).equals(content);
      } catch {
        return false;
      }
    };
    let refused = 0;
    const step = Math.ceil(whole.length / 60);
    for (let at = 0; at < whole.length; at += step) {
      const copy = Buffer.from(whole);
      copy[at] = (copy[at] ?? 0) ^ 0x10;
      if (saysTheSame(copy)) continue;
      refused++;
      await writeFile(archive, copy);
      // The checksum of the whole comes last: a bit of the manifest may be found to be wrong before.
      const code = expect.stringMatching(/^(SUBSTRATE_ARCHIVE_INVALID|SUBSTRATE_INCOMPATIBLE)$/);
      await expect(unpack(), `byte ${at}`).rejects.toMatchObject({ code });
    }
    expect(refused).toBeGreaterThan(50);
    await expectNothingLeft(host.paths);
  });

  it("that was cut off anywhere is refused", async () => {
    const whole = await readFile(archive);
    for (const length of [0, 1, 3, 100, whole.length >> 1, whole.length - 5, whole.length - 1]) {
      await writeFile(archive, whole.subarray(0, length));
      await expect(unpack(), `${length} bytes`).rejects.toMatchObject({ code: "SUBSTRATE_ARCHIVE_INVALID" });
    }
    await expectNothingLeft(host.paths);
  });

  it("whose tar was cut off, or goes on after it, is refused", async () => {
    const tar = zstdDecompressSync(await readFile(archive));
    for (const other of [tar.subarray(0, 512), tar.subarray(0, -1024 - 512), Buffer.concat([tar, Buffer.from("x")])]) {
      await writeFile(archive, zstdCompressSync(other));
      await expect(unpack()).rejects.toMatchObject({ code: "SUBSTRATE_ARCHIVE_INVALID" });
    }
    const zstd = await readFile(archive);
    for (const behind of [Buffer.from("x"), zstd, Buffer.alloc(200_000)]) {
      await writeFile(archive, Buffer.concat([zstdCompressSync(tar), behind]));
      await expect(unpack()).rejects.toMatchObject({ code: "SUBSTRATE_ARCHIVE_INVALID" });
    }
    await expectNothingLeft(host.paths);
  });

  it.each([
    ["nothing but zeros", () => Buffer.alloc(64 * MIB)],
    [
      "zeros behind the end",
      async () => Buffer.concat([zstdDecompressSync(await readFile(archive)), Buffer.alloc(64 * MIB)]),
    ],
  ])("that unpacks to %s is given up early", async (_, content) => {
    await writeFile(archive, zstdCompressSync(await content()));
    await expect(unpack()).rejects.toMatchObject({
      code: "SUBSTRATE_ARCHIVE_INVALID",
      message: expect.stringContaining("more than its manifest says"),
    });
  });

  it("that declares a huge entry is refused by the declaration", async () => {
    const tar = await tarOf(await readEntries(archive));
    // The size of the second header, 11 octal digits: 8 GiB less a byte.
    const at = 512 + Math.ceil(((await readEntries(archive))[0]?.content.length ?? 0) / 512) * 512;
    const header = tar.subarray(at, at + 512);
    header.write("77777777777 ", 124, "latin1");
    header.fill(" ", 148, 156);
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
      "latin1",
    );
    await writeFile(archive, zstdCompressSync(tar));
    await expect(unpack()).rejects.toMatchObject({
      code: "SUBSTRATE_ARCHIVE_INVALID",
      message: expect.stringContaining("of 8589934591 bytes"),
    });
  });

  it("with an extended header, which could rename a file, is refused", async () => {
    const [manifest, ...rest] = await readEntries(archive);
    const extended = { ...rest[0], header: { ...rest[0]?.header, pax: { comment: "x" } } };
    await writeEntries(archive, [manifest, extended, ...rest.slice(1)] as TestEntry[]);
    await expect(unpack()).rejects.toMatchObject({ message: expect.stringContaining("an extended header") });
  });

  it("whose zstd asks for a window of a GiB is refused", async () => {
    // Magic number, no flags, exponent 20: 2^(10 + 20) bytes; then one raw block of zero bytes, the last.
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 0x01, 0x00, 0x00]);
    await writeFile(archive, frame);
    await expect(unpack()).rejects.toMatchObject({
      message: expect.stringMatching(/requires too much memory|too large/i),
    });
  });

  it("whose disk reads other files of this machine is refused", async () => {
    const overlay = join(host.paths.stateDir, "overlay.qcow2");
    await createOverlay(overlay, "/etc/shadow", 8 * MIB);
    const image = await readFile(overlay);
    const dataFile = Buffer.from(image);
    dataFile.fill(0, 8, 20); // no backing file, but
    dataFile.writeBigUInt64BE(4n, 72); // an external data file
    for (const [disk, problem] of [
      [image, "backing file"],
      [dataFile, "features 0x4"],
    ] as const) {
      const entries = await readEntries(archive);
      await writeEntries(archive, await replaced("disk.qcow2", "disk", disk)(entries));
      await expect(unpack()).rejects.toMatchObject({
        code: "SUBSTRATE_ARCHIVE_INVALID",
        message: expect.stringContaining(problem),
      });
      await write();
    }
    await expectNothingLeft(host.paths);
  });

  it("that is no regular file is refused without waiting for it", async () => {
    const fifo = join(host.paths.stateDir, "fifo");
    await runTool(["mkfifo", fifo], { timeoutMs: 5000 });
    await expect(unpack({}, fifo)).rejects.toMatchObject({ code: "SUBSTRATE_ARCHIVE_INVALID" });
    await expect(unpack({}, host.paths.stateDir)).rejects.toMatchObject({ code: "SUBSTRATE_ARCHIVE_INVALID" });
    await expect(unpack({}, join(host.paths.stateDir, "none"))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { errno: "ENOENT" },
    });
  });

  it("that needs more room than the disk has is refused before anything is written", async () => {
    const size = 2 ** 40;
    const huge = withManifest((manifest) => ({
      ...manifest,
      guest: { ...manifest.guest, memoryMiB: size / MIB },
      memory: { ...manifest.memory, assignedBytes: size, residentBytes: size },
      files: { ...manifest.files, ram: { ...manifest.files.ram, sizeBytes: size } },
    }));
    await writeEntries(archive, await huge(await readEntries(archive)));
    await expect(unpack()).rejects.toMatchObject({ code: "INSUFFICIENT_DISK" });
  });

  it.each([
    ["qemu.build", { qemu: { version: "9.0.0", build: "9.0.0 (other)" } }],
    ["machine", { machine: "pc-i440fx-9.0" }],
    ["cpuModel", { cpuModel: "max" }],
    ["devices", { devices: [] }],
  ])("of another %s is refused as it would be at the first clone", async (field, change) => {
    await writeEntries(
      archive,
      await withManifest((manifest) => ({ ...manifest, ...change }))(await readEntries(archive)),
    );
    await expect(unpack()).rejects.toMatchObject({ code: "SUBSTRATE_INCOMPATIBLE", details: { field } });
    await expectNothingLeft(host.paths);
  });

  it("does not write through what somebody has put in its place", async () => {
    await ensurePrivateDir(host.paths.substrates);
    const planted = join(host.paths.stateDir, "planted");
    await mkdir(planted);
    await symlink(planted, join(host.paths.substrates, ".import-x"));
    await using unpacked = await unpack();
    expect(unpacked.files.dir).not.toContain("planted");
    expect(await readdir(planted)).toEqual([]);
  });
});
