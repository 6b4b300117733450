import { chmod, chown, lstat, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ensurePrivateDir } from "../../lib/host/index.ts";

let base = "";
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "private-"));
});
afterEach(() => rm(base, { recursive: true }));

const unsafe = (says: RegExp) => ({ code: "UNSAFE_DIRECTORY", message: expect.stringMatching(says) });

describe("ensurePrivateDir", () => {
  it("makes a directory, and what is above it, that only this user can enter", async () => {
    const dir = join(base, "a/b/c");
    await ensurePrivateDir(dir);
    expect((await lstat(dir)).mode & 0o777).toBe(0o700);
    await ensurePrivateDir(dir);
  });

  it.each([0o755, 0o770, 0o701, 0o777, 0o740])("refuses mode %o", async (mode) => {
    const dir = join(base, "open");
    await mkdir(dir);
    await chmod(dir, mode);
    await expect(ensurePrivateDir(dir)).rejects.toMatchObject(unsafe(/mode/));
  });

  it("refuses a file, a symlink and a dangling symlink", async () => {
    await writeFile(join(base, "file"), "");
    await mkdir(join(base, "dir"), { mode: 0o700 });
    await symlink(join(base, "dir"), join(base, "link"));
    await symlink(join(base, "nothing"), join(base, "dangling"));
    for (const name of ["file", "link", "dangling"]) {
      await expect(ensurePrivateDir(join(base, name)), name).rejects.toMatchObject(unsafe(/not a directory/));
    }
    await expect(lstat(join(base, "nothing"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  it.runIf(process.getuid?.() === 0)("refuses a directory of somebody else", async () => {
    const dir = join(base, "theirs");
    await mkdir(dir, { mode: 0o700 });
    await chown(dir, 65_534, 65_534);
    await expect(ensurePrivateDir(dir)).rejects.toMatchObject(unsafe(/belongs to/));
  });
});
