import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findExecutable, obstacleToPreload } from "../../lib/host/executable-file.ts";

let dir = "";
let file = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "executable-"));
  file = join(dir, "program");
});
afterEach(() => rm(dir, { recursive: true }));

/** An ELF file with program headers of these types. */
function elf({ machine = 62, types = [6, 3, 1] }: { machine?: number; types?: readonly number[] } = {}): Buffer {
  const bytes = Buffer.alloc(64 + types.length * 56);
  Buffer.from("7f454c46020101", "hex").copy(bytes);
  bytes.writeUInt16LE(machine, 18);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(types.length, 56);
  for (const [i, type] of types.entries()) bytes.writeUInt32LE(type, 64 + i * 56);
  return bytes;
}

describe("obstacleToPreload", () => {
  it("is none for programs of this machine", async () => {
    await writeFile(file, elf());
    for (const program of [file, "/bin/sh", process.execPath]) expect(await obstacleToPreload(program)).toBeUndefined();
  });

  it.each([
    ["a script", "#!/bin/sh\nexec qemu\n", "not an ELF program"],
    ["an empty file", "", "not an ELF program"],
    ["a static program", elf({ types: [1, 1] }), "statically linked"],
    ["a program of another processor", elf({ machine: 183 }), "another processor"],
    ["headers of another size", elf().fill(0xff, 54, 56), "unusual"],
    ["more headers than any program has", elf().fill(0xff, 56, 58), "unusual"],
    ["headers behind its end", elf().fill(0x7f, 33, 36), "statically linked"],
  ])("is found in %s", async (_, content, obstacle) => {
    await writeFile(file, content);
    expect(await obstacleToPreload(file)).toContain(obstacle);
  });

  it("is found in setuid programs, directories and where there is nothing", async () => {
    await copyFile("/bin/sh", file);
    await chmod(file, 0o4755);
    expect(await obstacleToPreload(file)).toContain("setuid");
    expect(await obstacleToPreload(dir)).toContain("EISDIR");
    expect(await obstacleToPreload(join(dir, "absent"))).toContain("ENOENT");
  });
});

describe("findExecutable", () => {
  it("takes the first on the PATH that can be run", async () => {
    for (const name of ["folder", "data", "first", "second"]) await mkdir(join(dir, name));
    await mkdir(join(dir, "folder/program"));
    await writeFile(join(dir, "data/program"), "", { mode: 0o644 });
    for (const name of ["first", "second"]) await writeFile(join(dir, name, "program"), "", { mode: 0o755 });
    const path = ["absent", "folder", "data", "first", "second"].map((name) => join(dir, name)).join(":");
    expect(await findExecutable("program", path)).toBe(join(dir, "first/program"));
    expect(await findExecutable("program", join(dir, "absent"))).toBeUndefined();
  });

  it("takes a path as it is", async () => {
    expect(await findExecutable("/nonexistent/qemu", "/bin")).toBe("/nonexistent/qemu");
    expect(await findExecutable("./qemu", "/bin")).toBe(join(process.cwd(), "qemu"));
  });
});
