import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CliOptions, cliEnv, cli as run, startCli } from "../support/cli.ts";
import { type FakeDaemon, openFakeDaemon } from "../support/fake-daemon.ts";

let fake: FakeDaemon;
let dir = "";
beforeAll(async () => {
  fake = await openFakeDaemon();
  dir = await mkdtemp(join(tmpdir(), "cli-"));
});
afterAll(async () => {
  await fake[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

const cli = (argv: readonly string[], options: CliOptions = {}) => run(argv, { env: cliEnv(fake.host), ...options });

/** The objects that a command prints. */
async function json(...argv: string[]) {
  const { exitCode, stdout, stderr } = await cli(["--format", "json", ...argv]);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  return JSON.parse(stdout);
}

async function activateOne(hostname: string, ...more: string[]) {
  const [vm] = await json("activate", "1", "--substrate", "fake", "--hostname", hostname, ...more);
  return vm;
}

describe("activate", () => {
  it("prints an object for each VM", async () => {
    const vms = await json("activate", "2", "--substrate", "fake", "--hostname", "shape-{index}");
    expect(vms).toHaveLength(2);
    expect(vms[0]).toMatchObject({
      id: expect.stringMatching(/^\w{12}$/),
      name: "shape-0",
      hostname: "shape-0",
      address: expect.stringMatching(/^10\.77\./),
      mac: expect.stringMatching(/^02:/),
      substrate: "fake@1",
      state: "running",
      path: "cloned",
      labels: {},
      expiresAt: null,
      timingsMs: { total: expect.any(Number), spawn: expect.any(Number) },
    });
  });

  it("gives a VM all that is asked for", async () => {
    await writeFile(join(dir, "job.json"), "{}");
    await writeFile(
      join(dir, "key.pub"),
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBoSjpEXcdQHXwSld4lSjw7VeYCPoUnEeHy7Fm7OcbtN me\n",
    );
    const vm = await activateOne(
      "full",
      "--subnet",
      "10.90.0.0/24",
      "--subnet6",
      "fd90::/64",
      "--address",
      "10.90.0.7",
      "--address",
      "fd90::7",
      "--mac",
      "02:00:00:00:90:01",
      "--cpus",
      "2",
      "--memory-mib",
      "129",
      "--disk-mib",
      "256",
      "--label",
      "match=17",
      "--label",
      "tier=a=b",
      "--env",
      "MATCH=17",
      "--ttl",
      "1h",
      "--max-lifetime",
      "1d",
      "--file",
      `${join(dir, "job.json")}:/etc/job.json:0600`,
      "--ssh-key",
      join(dir, "key.pub"),
      "--idempotency-key",
      "full-1",
      "--",
      "true",
    );
    expect(vm).toMatchObject({
      address: "10.90.0.7",
      address6: "fd90::7",
      mac: "02:00:00:00:90:01",
      resources: { cpus: 2, memoryMiB: 129, diskMiB: 256 },
      labels: { match: "17", tier: "a=b" },
      expiresAt: expect.any(String),
    });
    expect((await cli(["cp", "full:/etc/job.json", "-"])).stdout).toBe("{}");
  });

  it("with the same key gives the same VMs", async () => {
    const first = await activateOne("twice", "--idempotency-key", "twice-1");
    expect((await activateOne("twice", "--idempotency-key", "twice-1")).id).toBe(first.id);
  });

  it("with --settled shows what could be made, and fails for the rest", async () => {
    fake.host.qemu.script = (vm) => (vm === fake.host.qemu.vms.length - 1 ? { at: { load: "fail" } } : {});
    const { exitCode, stdout, stderr } = await cli(["activate", "1", "--substrate", "fake", "--settled"]);
    fake.host.qemu.script = () => ({});
    expect(exitCode).toBe(1);
    expect(stdout.split("\n")).toHaveLength(2);
    expect(stderr).toMatch(/^substrate: [A-Z_]+: /);
  });

  it.each([
    [["activate", "1", "--substrate", "none"], 3, "SUBSTRATE_NOT_FOUND"],
    [["activate", "0", "--substrate", "fake"], 2, "INVALID_ARGUMENT"],
    [["activate", "x", "--substrate", "fake"], 2, "INVALID_ARGUMENT"],
    [["activate", "1"], 2, "INVALID_ARGUMENT"],
    [["activate", "1", "--substrate", "fake", "--ttl", "soon"], 2, "expected a duration"],
    [["activate", "1", "--substrate", "fake", "--label", "x"], 2, "KEY=VALUE"],
    [["activate", "1", "--substrate", "fake", "--file", "a:b"], 2, "HOST:GUEST"],
    [["activate", "1", "--substrate", "fake", "--ssh-key", "/none"], 2, "cannot be read"],
    [["activate", "9", "--substrate", "fake", "--subnet", "10.91.0.0/30"], 4, "LEASE_EXHAUSTED"],
    [["activate", "1", "--substrate", "fake", "--settled", "--cold-boot"], 2, "do not go together"],
    [["nonsense"], 2, "unknown command"],
    [["ps", "--nonsense"], 2, "unknown option"],
    [["ps", "--format", "xml"], 2, "Allowed choices"],
  ])("%j ends with status %i", async (argv, code, message) => {
    const { exitCode, stdout, stderr } = await cli(argv);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/^substrate: [A-Z_]+: .*\n$/s);
    expect(stdout).toBe("");
    expect(exitCode).toBe(code);
  });

  it("refuses a private key, whatever its name", async () => {
    await writeFile(join(dir, "id"), "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n");
    const { stderr } = await cli(["activate", "1", "--substrate", "fake", "--ssh-key", join(dir, "id")]);
    expect(stderr).toContain("is a private key");
  });

  it("is cancelled by Ctrl-C, which leaves nothing of it", async () => {
    const { qemu } = fake.host;
    const next = qemu.vms.length;
    qemu.script = () => ({ at: { load: "hold" } });
    const call = startCli(["activate", "1", "--substrate", "fake", "--hostname", "held"], { env: cliEnv(fake.host) });
    await qemu.reached("load", next);
    call.interrupt();
    expect(await call.exitCode).toBe(130);
    qemu.script = () => ({});
    expect(call.stderr.text).toContain("undoing what was begun");
    expect(call.stderr.text).toContain("ABORTED: interrupted; what the command had begun was undone");
    expect(await json("ps", "--substrate", "fake")).not.toContainEqual(expect.objectContaining({ name: "held" }));
    expect(call.exits).toEqual([]);
    call.interrupt();
    expect(call.exits).toEqual([130]);
  });
});

describe("ps", () => {
  it("selects by labels, state and substrate, and prints ids alone with --quiet", async () => {
    const vm = await activateOne("selected", "--label", "pick=me");
    const { stdout } = await cli(["ps", "--label", "pick=me", "-q"]);
    expect(stdout).toBe(`${vm.id}\n`);
    expect(await json("ps", "--label", "pick=me", "--state", "parked")).toEqual([]);
    expect(await json("ps", "--label", "pick in (me, you)", "--substrate", "fake@1")).toHaveLength(1);
    expect((await cli(["ps", "--label", "(((", "--format", "csv"])).exitCode).toBe(2);
  });

  it("has a table, YAML and CSV", async () => {
    await activateOne("listed");
    expect((await cli(["ps"])).stdout).toMatch(/^NAME +ID +ADDRESS +SUBSTRATE/);
    expect((await cli(["ps", "--format", "yaml"])).stdout).toContain("hostname: listed\n");
    expect((await cli(["ps", "--format", "csv"])).stdout).toMatch(/^id,name,hostname,address,/);
  });

  it("is coloured on a terminal, unless that is switched off", async () => {
    const bold = "\u001b[1m";
    const tty = { tty: true };
    expect((await cli(["ps"], tty)).stdout).toContain(bold);
    expect((await cli(["ps", "--no-color"], tty)).stdout).not.toContain(bold);
    expect((await cli(["ps"], { ...tty, env: { ...cliEnv(fake.host), NO_COLOR: "1" } })).stdout).not.toContain(bold);
  });

  it("ends quietly when nobody reads it", async () => {
    const call = startCli(["ps"], { env: cliEnv(fake.host) });
    call.stdout.isClosed = true;
    expect(await call.exitCode).toBe(0);
    expect(call.stderr.text).toBe("");
  });
});

describe("single VMs", () => {
  it("are found by name, id, and a beginning that only one has", async () => {
    const vm = await activateOne("findme");
    for (const name of ["findme", vm.id, "findm"]) expect((await json("inspect", name))[0].id).toBe(vm.id);
    const { exitCode, stderr } = await cli(["inspect", "findme", "nobody"]);
    expect(exitCode).toBe(3);
    expect(stderr).toContain('NOT_FOUND: there is no VM "nobody"');
  });

  it("are parked, resumed, extended, waited for, and released", async () => {
    const vm = await activateOne("lived", "--ttl", "1m");
    expect(await json("park", "lived")).toMatchObject([{ state: "parked" }]);
    expect((await cli(["wait", "lived", "--for", "parked"])).exitCode).toBe(0);
    expect((await cli(["wait", "lived", "--for", "running", "--timeout", "20ms"])).exitCode).toBe(124);
    expect(await json("resume", "lived")).toMatchObject([{ state: "running" }]);
    const [extended] = await json("extend", "lived", "2h");
    expect(Date.parse(extended.expiresAt)).toBeGreaterThan(Date.now() + 7_000_000);
    const waiting = cli(["wait", "lived", "--for", "gone"]);
    expect(await json("release", "lived")).toMatchObject([{ id: vm.id, state: "released" }]);
    expect(await waiting).toMatchObject({ exitCode: 0 });
    expect((await cli(["wait", vm.id, "--for", "gone"])).exitCode).toBe(0);
    expect((await cli(["inspect", vm.id])).exitCode).toBe(3);
  });

  it("give memory back, and say how much is left", async () => {
    await activateOne("grown", "--memory-mib", "385");
    const { exitCode, stdout, stderr } = await cli(["shrink", "grown", "--memory-mib", "1", "--format", "json"]);
    expect([exitCode, JSON.parse(stdout)[0].resources.memoryMiB]).toEqual([0, 129]);
    expect(stderr).toContain("grown has 129 MiB of memory");
    expect((await cli(["shrink", "grown"])).stderr).toContain("--memory-mib");
  });

  it("are copied into and out of", async () => {
    await activateOne("copied");
    await writeFile(join(dir, "bytes"), Buffer.of(0, 255, 10, 13));
    expect(await cli(["cp", join(dir, "bytes"), "copied:/root/"])).toMatchObject({ exitCode: 0, stderr: "" });
    const call = startCli(["cp", "copied:/root/bytes", "-"], { env: cliEnv(fake.host) });
    await call.exitCode;
    expect(Buffer.concat(call.stdout.chunks)).toEqual(Buffer.of(0, 255, 10, 13));
    expect((await cli(["cp", "-", "copied:/tmp/in"], { stdin: "hello" })).exitCode).toBe(0);
    expect((await cli(["cp", "copied:/tmp/in", "-"])).stdout).toBe("hello");
    expect(await cli(["cp", dir, "copied:/tmp"])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("tar -c"),
    });
    expect((await cli(["cp", "a", "b"])).exitCode).toBe(2);
  });

  it("show their QEMU's command line", async () => {
    const vm = await activateOne("debugged");
    const { argv, pid } = await json("debug", "debugged");
    expect(pid).toBe(vm.pid);
    expect(argv).toContain("-nodefaults");
  });
});

describe("release", () => {
  it("of all asks on a terminal", async () => {
    await using other = await openFakeDaemon();
    const env = cliEnv(other.host);
    await other.pool.activate(2, { substrate: "fake" });
    const asked = startCli(["release", "--all"], { env, tty: true });
    await asked.stderr.shows("Release all 2 VMs?");
    asked.stdin.write("n\n");
    expect(await asked.exitCode).toBe(1);
    expect(other.pool.vms).toHaveLength(2);
    expect(await run(["release", "--all", "--yes", "--quiet"], { env, tty: true })).toMatchObject({ exitCode: 0 });
    expect(await run(["ps", "-q"], { env })).toMatchObject({ stdout: "" });
  });

  it("wants to be told which", async () => {
    expect((await cli(["release"])).exitCode).toBe(2);
    expect((await cli(["release", "a", "--all"])).exitCode).toBe(2);
    // Not a table of nothing: what is wrong was said.
    expect(await cli(["release", "nobody"])).toMatchObject({ exitCode: 3, stdout: "" });
    const misused = await cli(["dock", "set", "mini", "--min", "many"]);
    expect(misused).toMatchObject({ exitCode: 2, stdout: "" });
    expect(misused.stderr).toContain("see substrate dock set --help");
  });

  it("of labels leaves the others alone", async () => {
    await activateOne("gone-0", "--label", "go=1");
    await activateOne("stays-0", "--label", "go=2");
    expect(await json("release", "--label", "go=1")).toMatchObject([{ name: "gone-0" }]);
    expect((await cli(["inspect", "stays-0"])).exitCode).toBe(0);
  });
});
