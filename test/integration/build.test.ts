import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { createOverlay, Paths } from "../../lib/host/index.ts";
import { type BuildProgress, Pool } from "../../lib/index.ts";
import { DebianPackages } from "../../lib/substrate/recipes/debian-packages.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

const run = promisify(execFile);

/** A state directory of its own, with the guest's disk already made. */
async function ownState() {
  const stateDir = await mkdtemp(join(tmpdir(), "vm-own-"));
  const directories = { stateDir, cacheDir: labDirectories().cacheDir };
  return {
    directories,
    paths: new Paths(directories),
    async [Symbol.asyncDispose]() {
      await expectNothingLeft(directories);
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

/** A copy of the lab's substrate, to be damaged. */
async function copiedSubstrate() {
  const own = await ownState();
  const { dir } = new Paths(labDirectories()).substrate("mini", 1);
  const files = own.paths.substrate("mini", 1);
  await mkdir(own.paths.substrates, { mode: 0o700, recursive: true });
  await cp(dir, files.dir, { recursive: true });
  for (const file of [files.ram, files.state, files.disk, files.manifest]) await chmod(file, 0o600);
  return { ...own, files };
}

async function flipBit(file: string, position: number): Promise<void> {
  await using handle = await open(file, "r+");
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, position);
  buffer.writeUInt8(buffer.readUInt8(0) ^ 1, 0);
  await handle.write(buffer, 0, 1, position);
}

describe("build", () => {
  test("reuses a substrate made of the same inputs, and says so", async () => {
    await using lab = await openLab();
    const steps: BuildProgress["step"][] = [];
    const again = await lab.pool.build({ recipe: "mini", onProgress: ({ step }) => steps.push(step) });
    expect(again).toMatchObject({ name: "mini", version: 1, reused: true });
    expect(steps.at(-1)).toBe("done");
    expect((await lab.pool.substrates()).filter(({ name }) => name === "mini")).toHaveLength(1);
  });

  test("gives substrates below 128 MiB whose RAM file holds less than was assigned", async () => {
    await using lab = await openLab();
    const substrate = (await lab.pool.substrates()).find(({ name }) => name === "mini");
    expect(substrate?.memory.assignedBytes).toBeLessThan(128 * 2 ** 20);
    expect(substrate?.memory.residentBytes).toBeLessThan(substrate?.memory.assignedBytes ?? 0);
  });

  test("waits for another one that brings Debian's lists up to date", async () => {
    const dir = join(await mkdtemp(join(tmpdir(), "lists-")), "debian");
    try {
      const updates = [1, 2, 3].map(() => DebianPackages.update(dir, AbortSignal.timeout(120_000)));
      for (const packages of await Promise.all(updates)) {
        expect(await packages.closure(["busybox-static"])).toContain("busybox-static");
      }
    } finally {
      await rm(join(dir, ".."), { recursive: true });
    }
  });

  test("leaves nothing when it is aborted at any step", async () => {
    await using own = await ownState();
    for (const at of ["boot", "ready", "generalize", "freeze", "digest"] as const) {
      await using pool = await Pool.open(own.directories);
      const stopping = new AbortController();
      const onProgress = ({ step }: BuildProgress) => {
        if (step === at) stopping.abort();
      };
      await expect(pool.build({ recipe: "mini", signal: stopping.signal, onProgress }), at).rejects.toMatchObject({
        code: "ABORTED",
      });
      expect(await pool.substrates(), at).toEqual([]);
      expect(await readdir(own.paths.substrates), at).toEqual([]);
      expect(await readdir(own.paths.sharedMemoryDir), at).toEqual([]);
      expect(await readdir(own.paths.vms), at).toEqual([]);
    }
  });

  test("says what QEMU said when it dies during the build, and leaves nothing", async () => {
    await using own = await ownState();
    await using pool = await Pool.open(own.directories);
    const onProgress = ({ step }: BuildProgress) => {
      if (step === "ready") void killBuild(own.paths);
    };
    await expect(pool.build({ recipe: "mini", onProgress })).rejects.toMatchObject({
      code: "QEMU_EXITED",
      details: { signal: "SIGKILL" },
    });
    expect(await readdir(own.paths.substrates)).toEqual([]);
  });

  test("keeps nothing of the builder in the substrate's disk", async () => {
    await using own = await ownState();
    const raw = join(own.paths.stateDir, "disk.raw");
    await run("qemu-img", ["convert", "-O", "raw", new Paths(labDirectories()).substrate("mini", 1).disk, raw]);
    const stat = async (path: string) => (await run("/usr/sbin/debugfs", ["-R", `stat ${path}`, raw])).stdout;
    expect(await stat("/etc/machine-id")).toMatch(/Size: 0\b/);
    expect(await stat("/etc/dropbear/dropbear_ed25519_host_key")).toMatch(/Size: 0\b/);
    const { stdout } = await run("/usr/sbin/debugfs", ["-R", "ls -p /etc/dropbear", raw]);
    expect(stdout).not.toMatch(/rsa|ecdsa/);
    await rm(raw);
  });
});

async function killBuild(paths: Paths): Promise<void> {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (commandLine.includes("guest=vm-substrate-") && commandLine.includes(`${paths.substrates}/.mini-`))
      process.kill(Number(pid), "SIGKILL");
  }
}

describe("a substrate that does not match its manifest is refused", () => {
  const damages = [
    ["one flipped bit in the RAM file", "ram", (file: string) => flipBit(file, 40_000_000)],
    ["a state file cut short", "state", (file: string) => truncate(file, 1000)],
    ["an empty state file", "state", (file: string) => truncate(file, 0)],
    ["one flipped bit in the state file", "state", (file: string) => flipBit(file, 2000)],
    ["a changed disk", "disk", (file: string) => flipBit(file, 300_000)],
    ["a missing RAM file", "ram", (file: string) => rm(file)],
  ] as const;

  test.each(damages)("%s", async (_name, file, damage) => {
    await using copy = await copiedSubstrate();
    await damage(copy.files[file]);
    await using pool = await Pool.open(copy.directories);
    await expect(pool.activate(1, { substrate: "mini" })).rejects.toMatchObject({
      code: "SUBSTRATE_CORRUPT",
      details: { file: copy.files[file] },
    });
    expect(await readdir(copy.paths.sharedMemoryDir)).toEqual([]);
  });

  test("and built again by build, as a new version", async () => {
    await using copy = await copiedSubstrate();
    await truncate(copy.files.state, 1000);
    await using pool = await Pool.open(copy.directories);
    expect(await pool.build({ recipe: "mini" })).toMatchObject({ version: 2, reused: false });
    expect(await pool.activate(1, { substrate: "mini" })).toHaveLength(1);
  });

  test.each([
    [
      "qemu.build",
      (manifest: Record<string, unknown>) => ({ ...manifest, qemu: { version: "7.2.0", build: "7.2.0 (other)" } }),
    ],
    ["machine", (manifest: Record<string, unknown>) => ({ ...manifest, machine: "pc-i440fx-7.1" })],
    ["cpuModel", (manifest: Record<string, unknown>) => ({ ...manifest, cpuModel: "max" })],
    ["devices", (manifest: Record<string, unknown>) => ({ ...manifest, devices: [] })],
  ])("another %s", async (field, change) => {
    await using copy = await copiedSubstrate();
    const manifest = JSON.parse(await readFile(copy.files.manifest, "utf8"));
    await writeFile(copy.files.manifest, JSON.stringify(change(manifest)));
    await using pool = await Pool.open(copy.directories);
    const refused = await pool.activate(1, { substrate: "mini" }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "SUBSTRATE_INCOMPATIBLE", details: { field } });
  });

  test("a RAM file changed in memory after it was loaded", async () => {
    await using copy = await copiedSubstrate();
    await using pool = await Pool.open(copy.directories);
    const [vm] = await pool.activate(1, { substrate: "mini" });
    await vm?.release();
    const [loaded] = await readdir(copy.paths.sharedMemoryDir);
    const file = join(copy.paths.sharedMemoryDir, loaded ?? "");
    await chmod(file, 0o600);
    await flipBit(file, 40_000_000);
    await expect(pool.activate(1, { substrate: "mini" })).rejects.toMatchObject({ code: "SUBSTRATE_CORRUPT" });
  });
});

test("qemu-img finds nothing wrong with an overlay of ours", async () => {
  await using own = await ownState();
  const backing = new Paths(labDirectories()).substrate("mini", 1).disk;
  const overlay = join(own.paths.stateDir, "overlay, with a comma.qcow2");
  await createOverlay(overlay, backing, 256 * 2 ** 20);
  await run("qemu-img", ["check", "-f", "qcow2", overlay]);
  const { stdout } = await run("qemu-img", ["info", "-f", "qcow2", "--output=json", overlay]);
  expect(JSON.parse(stdout)).toMatchObject({
    "virtual-size": 256 * 2 ** 20,
    "backing-filename": backing,
    "backing-filename-format": "qcow2",
    "dirty-flag": false,
  });
  await rm(overlay);
});
