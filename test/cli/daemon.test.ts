import { chmod, mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { cliEnv, cliProcess, cli as run, spawnCli, startCli } from "../support/cli.ts";
import { fakeConfig } from "../support/fake-daemon.ts";
import { FakeHost } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";

/** Processes of their own, on a machine that may be busy. */
const TIMEOUT_MS = 60_000;

let host: FakeHost;
let env: NodeJS.ProcessEnv;
let config = "";
beforeEach(async () => {
  host = await FakeHost.create();
  config = join(host.directories.stateDir, "../daemon.yaml");
  await configure({});
  env = { ...cliEnv(host), VM_SUBSTRATE_CONFIG: config };
});
afterEach(async () => {
  await run(["daemon", "stop", "--quiet"], { env });
  await host[Symbol.asyncDispose]();
});

async function configure(more: object): Promise<void> {
  await writeFile(config, stringify({ ...fakeConfig(host), log: { level: "info" }, ...more }));
}

const cli = (argv: readonly string[]) => run(argv, { env });

async function daemonPid(): Promise<number> {
  return JSON.parse((await cli(["daemon", "status", "--format", "json"])).stdout).pid;
}

describe("a daemon", { timeout: TIMEOUT_MS }, () => {
  it("is started by the first command that needs it, and is told of and stopped", async () => {
    expect(await cli(["daemon", "status"])).toMatchObject({
      exitCode: 5,
      stdout: expect.stringContaining("not running"),
    });
    expect(await cli(["ps", "--no-start"])).toMatchObject({
      exitCode: 5,
      stderr: expect.stringContaining("DAEMON_UNREACHABLE"),
    });
    expect(await cli(["ps"])).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await cli(["daemon", "status"])).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("running") });
    const log = await stat(host.paths.daemonLog);
    expect(log.mode & 0o777).toBe(0o600);
    expect(await cli(["daemon", "stop"])).toMatchObject({ exitCode: 0, stderr: "stopped; 0 VMs go on\n" });
    expect((await cli(["daemon", "status"])).exitCode).toBe(5);
    expect(await cli(["daemon", "stop"])).toMatchObject({ exitCode: 0, stderr: "no daemon runs\n" });
  });

  it("is one, however many commands start it at a time", async () => {
    const results = await Promise.all(
      [1, 2, 3].map(() => cliProcess(["daemon", "start", "--format", "json"], { env })),
    );
    const pids = results.map(({ stdout, exitCode, stderr }) => {
      expect(`${exitCode} ${stderr}`).toMatch(/^0 (?:it runs already\n)?$/);
      return JSON.parse(stdout).pid;
    });
    expect(new Set(pids).size).toBe(1);
  });

  it("that was killed is started again, with its VMs", async () => {
    await cli(["ps"]);
    await addFakeSubstrate(host.paths);
    const made = await cli(["activate", "2", "--substrate", "fake", "-q"]);
    process.kill(await daemonPid(), "SIGKILL");
    const { stdout, exitCode } = await cli(["ps", "-q"]);
    expect(exitCode).toBe(0);
    expect(stdout.split("\n").toSorted()).toEqual(made.stdout.split("\n").toSorted());
    await cli(["release", "--all"]);
  });

  it("goes on when the command that started it is interrupted", async () => {
    await addFakeSubstrate(host.paths);
    host.qemu.script = () => ({ at: { load: "hold" } });
    const call = startCli(["activate", "1", "--substrate", "fake"], { env });
    await host.qemu.reached("load", 0);
    call.interrupt();
    expect(await call.exitCode).toBe(130);
    expect((await cli(["daemon", "status"])).exitCode).toBe(0);
  });

  it("is lost during a call: without a key that is said, with one the call is repeated", async () => {
    await cli(["ps"]);
    await addFakeSubstrate(host.paths);
    host.qemu.script = (vm) => (vm < 2 ? { at: { load: "hold" } } : {});
    const activate = ["activate", "1", "--substrate", "fake"];
    const first = cli(activate);
    await host.qemu.reached("load", 0);
    process.kill(await daemonPid(), "SIGKILL");
    expect(await first).toMatchObject({ exitCode: 5, stderr: expect.stringContaining("--idempotency-key") });
    const second = cli([...activate, "--idempotency-key", "again", "--format", "json"]);
    await host.qemu.reached("load", 1);
    process.kill(await daemonPid(), "SIGKILL");
    const { stdout, stderr, exitCode } = await second;
    expect(stderr).toContain("asking again with the same key");
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toHaveLength(1);
    expect((await cli(["release", "--all", "-q"])).stdout.trim().split("\n")).toHaveLength(1);
  });

  it("is none where a program has the state directory", async () => {
    await using pool = await host.open();
    const { exitCode, stderr } = await cli(["ps"]);
    expect(exitCode).toBe(5);
    expect(stderr).toContain(`STATE_DIR_LOCKED: ${host.directories.stateDir} is open in process ${process.pid} (`);
    expect(pool.vms).toEqual([]);
  });

  it("that cannot start is told of with the end of its log", async () => {
    await configure({ qemu: "/none/qemu" });
    const { exitCode, stderr } = await cli(["ps"]);
    expect(exitCode).toBe(5);
    expect(stderr).toContain("DAEMON_UNREACHABLE: the daemon did not start (QEMU_MISSING: ");
    expect(stderr).toContain(`its log is ${host.paths.daemonLog}, its end:\n`);
  });

  it("with a configuration that is broken is not started", async () => {
    await configure({ heartbeatMs: "often" });
    const { exitCode, stderr } = await cli(["ps"]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(new RegExp(`INVALID_ARGUMENT: ${config}:\\d+: heartbeatMs`));
    expect((await cli(["config", "check"])).exitCode).toBe(2);
    await configure({});
    expect(await cli(["config", "check"])).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("ok") });
    expect((await cli(["config", "path"])).stdout).toBe(`${config}\n`);
    expect((await cli(["config", "show", "--format", "json"])).stdout).toContain(host.qemu.path);
  });

  it("over TCP wants a token, which is never on a command line", async () => {
    expect(await cli(["daemon", "start", "--listen", "127.0.0.1:0", "-q"])).toMatchObject({ exitCode: 0 });
    const page = await cli(["web"]);
    const [, url = "", token = ""] = /^(http:\/\/127\.0\.0\.1:\d+)\/#token=(\S+)\n$/.exec(page.stdout) ?? [];
    expect((await cli(["daemon", "token"])).stdout.trim()).toBe(token);
    const away = { PATH: env.PATH, HOME: env.HOME, VM_SUBSTRATE_URL: url };
    expect((await run(["ps"], { env: away })).exitCode).toBe(1);
    expect((await run(["ps"], { env: { ...away, VM_SUBSTRATE_TOKEN: token } })).exitCode).toBe(0);
    const withFile = await run(["ps", "--url", url, "--token-file", host.paths.daemonTokens], { env: away });
    expect(withFile.exitCode).toBe(0);
    expect((await readFile(host.paths.daemonLog, "utf8")).includes(token)).toBe(false);
  });

  it("without TCP has no page, and it is said how to switch it on", async () => {
    expect(await cli(["web"])).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("--listen 127.0.0.1:7070"),
    });
  });

  it("in the foreground ends with SIGTERM, and has said where it listens", async () => {
    const child = spawnCli(["daemon", "run"], env);
    const listens = new Promise<void>((resolve) => {
      let said = "";
      child.stderr.on("data", (bytes: Buffer) => {
        said += bytes.toString();
        if (said.includes("the daemon listens")) resolve();
      });
    });
    await listens;
    const ended = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  });

  it("does not start when its log is a link to elsewhere", async () => {
    await mkdir(dirname(host.paths.daemonLog), { recursive: true, mode: 0o700 });
    await chmod(dirname(host.paths.daemonLog), 0o700);
    await writeFile(join(host.directories.stateDir, "../elsewhere"), "");
    await symlink(join(host.directories.stateDir, "../elsewhere"), host.paths.daemonLog);
    expect(await cli(["ps"])).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("HOST_IO_FAILED") });
  });
});

describe("a program of its own", { timeout: TIMEOUT_MS }, () => {
  it("ends with the status, and writes JSON alone to standard output", async () => {
    const { exitCode, stdout, stderr } = await cliProcess(["ps", "--format", "json"], { env });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual([]);
    const failed = await cliProcess(["inspect", "nobody", "--format", "json"], { env });
    expect(failed.exitCode).toBe(3);
    expect(JSON.parse(failed.stderr)).toMatchObject({ code: "NOT_FOUND" });
  });
});
