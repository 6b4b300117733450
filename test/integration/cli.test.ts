import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cliProcess } from "../support/cli.ts";
import { labDirectories } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

const MANY = 20;

let dir = "";
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "vm-cli-"));
  // The downloads and the disk are those of all tests; the substrate is built by the command.
  const { cacheDir } = labDirectories();
  env = {
    PATH: process.env.PATH,
    HOME: dir,
    XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR,
    VM_SUBSTRATE_STATE_DIR: join(dir, "state"),
    VM_SUBSTRATE_CACHE_DIR: cacheDir,
  };
});
afterAll(async () => {
  await cliProcess(["release", "--all", "--no-start", "-q"], { env });
  await cliProcess(["daemon", "stop", "-q"], { env });
  await rm(dir, { recursive: true, force: true });
});

const cli = (argv: readonly string[], stdin?: string) =>
  cliProcess(argv, stdin === undefined ? { env } : { env, stdin });

/** What a command prints as JSON; it must succeed. */
async function json(...argv: string[]) {
  const { exitCode, stdout, stderr } = await cli(["--format", "json", ...argv]);
  expect(`${exitCode} ${stderr}`).toMatch(/^0 /);
  return JSON.parse(stdout);
}

async function killDaemon(): Promise<void> {
  const { pid } = await json("daemon", "status");
  process.kill(pid, "SIGKILL");
}

test("from nothing: the substrate is built, the daemon started, and the VMs are printed", async () => {
  const vms = await json("activate", "3", "--substrate", "mini");
  expect(vms).toHaveLength(3);
  for (const [i, vm] of vms.entries()) {
    expect(vm).toMatchObject({
      id: expect.any(String),
      name: `mini-${i}`,
      hostname: `mini-${i}`,
      address: expect.stringMatching(/^10\.77\./),
      mac: expect.stringMatching(/^02:/),
      substrate: "mini@1",
      state: "running",
      path: "cloned",
      timingsMs: { total: expect.any(Number) },
    });
  }
  expect((await json("daemon", "status")).vms).toBe(3);
});

test("programs run in them, with input, output and status", async () => {
  expect(await cli(["exec", "mini-0", "--", "hostname"])).toEqual({ exitCode: 0, stdout: "mini-0\n", stderr: "" });
  expect(await cli(["exec", "mini-0", "--", "sh", "-c", "exit 7"])).toEqual({ exitCode: 7, stdout: "", stderr: "" });
  expect(await cli(["exec", "-i", "mini-1", "--", "cat"], "from here\n")).toMatchObject({
    exitCode: 0,
    stdout: "from here\n",
  });
  expect(await cli(["exec", "mini-1", "--", "sh", "-c", "kill -TERM $$"])).toMatchObject({ exitCode: 128 + 15 });
  expect(await cli(["exec", "mini-1", "--", "/none"])).toMatchObject({ exitCode: 125 });
});

test("files go both ways", async () => {
  const [from, to] = [join(dir, "from"), join(dir, "to")];
  const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => i % 251));
  await writeFile(from, bytes, { mode: 0o755 });
  expect(await cli(["cp", from, "mini-0:/root/copied"])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect((await cli(["exec", "mini-0", "--", "stat", "-c", "%a", "/root/copied"])).stdout).toBe("755\n");
  expect(await cli(["cp", "mini-0:/root/copied", to])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect((await readFile(to)).equals(bytes)).toBe(true);
});

test("a VM is parked, resumed, extended and forked", async () => {
  expect(await json("park", "mini-2")).toMatchObject([{ state: "parked" }]);
  expect((await cli(["exec", "mini-2", "--", "true"])).exitCode).toBe(125);
  expect(await json("resume", "mini-2")).toMatchObject([{ state: "running" }]);
  expect((await cli(["exec", "mini-2", "--", "true"])).exitCode).toBe(0);
  expect((await json("extend", "mini-2", "30m"))[0].expiresAt).toEqual(expect.any(String));
  expect(await json("fork", "mini-2", "1")).toMatchObject([{ path: "forked", state: "running" }]);
});

test(`${MANY} VMs answer after the daemon was killed`, { timeout: 240_000 }, async () => {
  await json("release", "--all", "--yes");
  const vms = await json("activate", String(MANY), "--substrate", "mini", "--hostname", "many-{index}");
  await killDaemon();
  const listed = await json("ps");
  expect(listed.map(({ id }: { id: string }) => id).toSorted()).toEqual(
    vms.map(({ id }: { id: string }) => id).toSorted(),
  );
  const names: string[] = vms.map(({ name }: { name: string }) => name);
  const answers = async (name: string) =>
    expect(await cli(["exec", name, "--", "hostname"])).toEqual({ exitCode: 0, stdout: `${name}\n`, stderr: "" });
  for (let i = 0; i < names.length; i += 4) await Promise.all(names.slice(i, i + 4).map(answers));
});

test("a claim in flight when the daemon is killed is completed or gone, and its key tells which", async () => {
  await json("release", "--all", "--yes");
  for (const pauseMs of [20, 120, 300]) {
    const key = `in-flight-${pauseMs}`;
    const argv = ["activate", "2", "--substrate", "mini", "--idempotency-key", key] as const;
    const { pid } = await json("daemon", "status");
    const call = json(...argv);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    process.kill(pid, "SIGKILL");
    const made = await call;
    expect(made).toHaveLength(2);
    expect(await json(...argv)).toMatchObject(made.map(({ id }: { id: string }) => ({ id })));
    expect((await json("ps")).map(({ id }: { id: string }) => id).toSorted()).toEqual(
      made.map(({ id }: { id: string }) => id).toSorted(),
    );
    await json("release", "--all", "--yes");
  }
});

test("nothing is left when all is released and the daemon is stopped", async () => {
  await json("release", "--all", "--yes");
  expect(await json("ps")).toEqual([]);
  expect(await cli(["daemon", "stop"])).toMatchObject({ exitCode: 0 });
  await expectNothingLeft({ stateDir: env.VM_SUBSTRATE_STATE_DIR });
});
