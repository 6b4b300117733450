import { chmod, chown, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Directories, type Paths, runTool } from "../../lib/host/index.ts";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { miniRecipe } from "../../lib/substrate/recipes/mini.ts";
import { FakeHost, openFakePool } from "../support/fake-host.ts";
import { FakeQemu } from "../support/fake-qemu-control.ts";
import { addFakeGuestFiles, addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

const SPEC: ActivateSpec = { substrate: "fake" };

/** A small tmpfs; without the right to mount, none. */
async function mountTmpfs(size: string): Promise<AsyncDisposable & { readonly dir: string | undefined }> {
  const dir = await mkdtemp(join(tmpdir(), "shm-"));
  const tool = { timeoutMs: 5000 };
  const mounted = await runTool(["mount", "-t", "tmpfs", "-o", `size=${size},mode=0700`, "tmpfs", dir], tool).then(
    () => true,
    () => false,
  );
  return {
    dir: mounted ? dir : undefined,
    async [Symbol.asyncDispose]() {
      if (mounted) await runTool(["umount", dir], tool);
      await rm(dir, { recursive: true });
    },
  };
}

describe("Pool.open refuses", () => {
  it("a QEMU that is not there", async () => {
    await using host = await FakeHost.create();
    for (const qemu of ["/nonexistent/qemu", "no-such-qemu-program", host.directories.sharedMemoryDir]) {
      await expect(host.open({ qemu }), qemu).rejects.toMatchObject({ code: "QEMU_MISSING" });
    }
    await expect(readdir(host.directories.stateDir)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it.each([
    ["QEMU emulator version 7.1.0 (Debian 1:7.1)", "7.2 or later"],
    ["QEMU emulator version 2.12.1", "7.2 or later"],
    ["GNU bash, version 5.2.15", "does not answer like QEMU"],
    ["", "does not answer like QEMU"],
  ])("a QEMU that says %j", async (line, says) => {
    await using host = await FakeHost.create();
    await using qemu = await FakeQemu.create(line);
    const message = expect.stringContaining(says);
    await expect(host.open({ qemu: qemu.path })).rejects.toMatchObject({ code: "QEMU_UNSUPPORTED", message });
  });

  it("a runtime directory too deep for a socket, before anything is made", async () => {
    await using host = await FakeHost.create();
    const runtimeDir = join(host.directories.runtimeDir, "r".repeat(80));
    await expect(host.open({ runtimeDir })).rejects.toMatchObject({ code: "PATH_TOO_LONG" });
    await expect(readdir(host.directories.stateDir)).rejects.toMatchObject({ code: "ENOENT" });
  });

  const PRIVATE = ["stateDir", "runtimeDir", "sharedMemoryDir"] as const;
  const made = (paths: Paths, name: (typeof PRIVATE)[number]) => paths[name];

  it.each(PRIVATE)("a %s that is open to others", async (name) => {
    await using host = await FakeHost.create();
    const dir = made(host.paths, name);
    await mkdir(dir, { recursive: true });
    await chmod(dir, 0o755);
    await expect(host.open()).rejects.toMatchObject({ code: "UNSAFE_DIRECTORY", details: { path: dir } });
  });

  it.each(PRIVATE)("a %s that is a symlink", async (name) => {
    await using host = await FakeHost.create();
    const dir = made(host.paths, name);
    const target = `${host.directories.stateDir}-elsewhere`;
    await mkdir(target, { mode: 0o700 });
    await mkdir(join(dir, ".."), { recursive: true });
    await symlink(target, dir);
    await expect(host.open()).rejects.toMatchObject({ code: "UNSAFE_DIRECTORY" });
    expect(await readdir(target)).toEqual([]);
  });

  it.each(PRIVATE)("a %s that is a file", async (name) => {
    await using host = await FakeHost.create();
    const dir = made(host.paths, name);
    await mkdir(join(dir, ".."), { recursive: true });
    await writeFile(dir, "");
    await expect(host.open()).rejects.toMatchObject({ code: "UNSAFE_DIRECTORY" });
  });

  it.runIf(process.getuid?.() === 0).each(PRIVATE)("a %s that belongs to somebody else", async (name) => {
    await using host = await FakeHost.create();
    const dir = made(host.paths, name);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await chown(dir, 65_534, 65_534);
    await expect(host.open()).rejects.toMatchObject({
      code: "UNSAFE_DIRECTORY",
      message: expect.stringMatching(/belongs to/),
    });
  });

  it("a directory that cannot be made", async () => {
    await using host = await FakeHost.create();
    await expect(host.open({ stateDir: "/dev/null/state" })).rejects.toMatchObject({ code: "UNSAFE_DIRECTORY" });
  });
});

describe("shared memory", () => {
  it.runIf(process.getuid?.() === 0)("too small for a substrate is INSUFFICIENT_SHARED_MEMORY", async (context) => {
    await using host = await FakeHost.create();
    await using tmpfs = await mountTmpfs("20m");
    if (tmpfs.dir === undefined) return context.skip("this user may not mount a tmpfs");
    const directories: Directories = { ...host.directories, sharedMemoryDir: tmpfs.dir };
    await using pool = await host.open(directories);
    const memory = { assignedBytes: 2 ** 23, usedBytes: 0, residentBytes: 2 ** 23 };
    await addFakeSubstrate(host.paths, { manifest: { memory } });
    await expect(pool.activate(1, SPEC)).rejects.toMatchObject({ code: "INSUFFICIENT_SHARED_MEMORY" });
    await expectNothingLeft(directories, { open: true });
    expect(host.qemu.vms).toEqual([]);
  });
});

describe("the owner of a pool", () => {
  it("sees its substrates", async () => {
    await using fake = await openFakePool();
    expect(await fake.pool.substrates()).toEqual([
      {
        name: "fake",
        version: 1,
        createdAt: "2026-01-01T00:00:00.000Z",
        recipe: "mini",
        accelerator: "tcg",
        qemu: "7.2.22 (Debian 1:7.2+fake)",
        memory: { assignedBytes: 2 ** 20, usedBytes: 25_600_000, residentBytes: 16_384 },
        generalized: [],
      },
    ]);
  });

  it("gets the newest version of a substrate", async () => {
    await using fake = await openFakePool();
    await addFakeSubstrate(fake.host.paths, { version: 10 });
    await addFakeSubstrate(fake.host.paths, { version: 9 });
    expect((await fake.pool.activate(1, SPEC))[0]?.substrate).toEqual({ name: "fake", version: 10 });
  });

  it("can compare with a cold boot of the same guest", async () => {
    await using fake = await openFakePool();
    await addFakeGuestFiles(fake.host.paths, miniRecipe);
    const [vm] = await fake.pool.coldBoot(1, SPEC);
    expect((await vm?.exec(["hostname"]))?.stdout).toBe("fake-0\n");
    expect(fake.qemu.vms[0]?.argv).not.toContain("-incoming");
    await vm?.release();
    await expectNothingLeft(fake.host.paths, { open: true });
  });
});
