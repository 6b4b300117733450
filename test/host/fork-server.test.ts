import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { silentLogger } from "../../lib/core/index.ts";
import { forkServerLibrary } from "../../lib/host/fork-server-library.ts";
import { endProcess, ForkServer, findProcesses, processStartTime, QemuProcess } from "../../lib/host/index.ts";
import { SANDBOX } from "../../lib/host/qemu-argv.ts";
import { QmpClient } from "../../lib/qmp/index.ts";

const OWNER = fileURLToPath(new URL("../support/fork-server-owner.ts", import.meta.url));
const QEMU = "qemu-system-x86_64";
const SHELL = "/bin/sh";

let libraryDir = "";
let dir = "";
let logFile = "";
let servers: AsyncDisposableStack;
beforeAll(async () => {
  libraryDir = await mkdtemp(join(tmpdir(), "fork-library-"));
  await forkServerLibrary(libraryDir);
});
afterAll(() => rm(libraryDir, { recursive: true }));
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fork-server-"));
  logFile = join(dir, "log");
  servers = new AsyncDisposableStack();
});
afterEach(async () => {
  await servers.disposeAsync();
  await rm(dir, { recursive: true });
});

/** A shell is a program as good as QEMU, and starts at once. */
function forkServer(binary = SHELL, logger = silentLogger): ForkServer {
  return servers.use(ForkServer.start({ binary, libraryDir, logger }));
}

/** Killed with the test. */
async function run(server: ForkServer, script: string, inheritFiles: readonly string[] = []): Promise<QemuProcess> {
  const argv = ["-c", script];
  const process = await QemuProcess.spawn({ binary: SHELL, argv, logFile, inheritFiles, forkServer: server });
  servers.use(process);
  return process;
}

async function output(process: QemuProcess): Promise<string> {
  await process.exited;
  return readFile(logFile, "utf8");
}

async function statusOf(pid: number, field: string): Promise<string | undefined> {
  return new RegExp(`^${field}:\\s+(.*)$`, "m").exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
}

async function serverOf(process: QemuProcess): Promise<number> {
  return Number(await statusOf(process.pid, "PPid"));
}

async function argumentsOf(pid: number): Promise<string[]> {
  return (await readFile(`/proc/${pid}/cmdline`, "utf8")).replace(/\0+$/, "").split("\0");
}

/** A child runs once its server has said that it may, which comes after the news of its PID. */
async function runs(process: QemuProcess): Promise<QemuProcess> {
  await until(async () => (await statusOf(process.pid, "Name")) === "sleep");
  return process;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 2));
}

async function gone(pid: number): Promise<void> {
  await until(async () => (await processStartTime(pid)) === undefined);
}

function collectingLogger() {
  const info: Record<string, unknown>[] = [];
  return { info, logger: { ...silentLogger, info: (fields: Record<string, unknown>) => info.push(fields) } };
}

describe("QEMU from a fork server", () => {
  it("is QEMU, under its sandbox, with huge pages off, and answers its monitor", async () => {
    const server = forkServer(QEMU);
    const path = join(dir, "qmp");
    const argv = ["-name", "guest=vm-substrate-forked", "-machine", "none", "-display", "none", "-nodefaults", "-S"];
    argv.push("-sandbox", SANDBOX, "-qmp", `unix:${path},server=on,wait=off`);
    await using process = await QemuProcess.spawn({ binary: QEMU, argv, logFile, forkServer: server });
    const connect = { timeoutMs: 5000, logger: silentLogger, retryUntilPresent: true };
    await using qmp = await process.guard("start", QmpClient.connect(path, connect));
    expect((await qmp.execute("query-status")).status).toBe("prelaunch");
    expect(await argumentsOf(process.pid)).toEqual([QEMU, ...argv]);
    expect(await statusOf(process.pid, "Name")).toBe("qemu-system-x86");
    expect(await statusOf(process.pid, "THP_enabled")).toBe("0");
    expect(await statusOf(process.pid, "Seccomp")).toBe("2");
    expect(await argumentsOf(await serverOf(process))).toEqual([QEMU, "vm-substrate-fork-server"]);
    expect(await process.terminate()).toEqual({ code: 0, signal: null });
  });

  it("reads an inherited file at descriptor 3, and is heard when it refuses it", async () => {
    const [path, stream] = [join(dir, "qmp"), join(dir, "stream")];
    await writeFile(stream, "this is no device state");
    const argv = ["-machine", "none", "-display", "none", "-nodefaults", "-S", "-incoming", "defer"];
    argv.push("-sandbox", SANDBOX, "-qmp", `unix:${path},server=on,wait=off`);
    const inheritFiles = [stream];
    const server = forkServer(QEMU);
    await using process = await QemuProcess.spawn({ binary: QEMU, argv, logFile, inheritFiles, forkServer: server });
    const connect = { timeoutMs: 5000, logger: silentLogger, retryUntilPresent: true };
    await using qmp = await process.guard("start", QmpClient.connect(path, connect));
    await qmp.execute("migrate-incoming", { uri: "fd:3" }).catch(() => {});
    expect(await process.exited).toEqual({ code: 1, signal: null });
    expect(await process.stderrTail()).toContain("Not a migration stream");
  });

  it("is found by its name and its state directory, as any VM of ours", async () => {
    const argv = ["-name", "guest=vm-substrate-forked", "-machine", "none", "-display", "none", "-nodefaults", "-S"];
    argv.push("-object", JSON.stringify({ "qom-type": "secret", id: "secret0", file: logFile }));
    const server = forkServer(QEMU);
    await using process = await QemuProcess.spawn({ binary: QEMU, argv, logFile, forkServer: server });
    const name = await process.name();
    await until(async () => (await findProcesses({ stateDir: dir, sharedMemoryDir: dir })).length > 0);
    expect(await findProcesses({ stateDir: dir, sharedMemoryDir: dir })).toEqual([{ ...name, id: "forked" }]);
  });
});

describe("a forked process", () => {
  it("has what it asked for, and nothing else", async () => {
    const files = ["one", "two", "three"].map((name) => join(dir, name));
    for (const file of files) await writeFile(file, file);
    const process = await run(forkServer(), "cat <&4; echo; env; kill -STOP $$", files);
    await until(async () => (await statusOf(process.pid, "State"))?.startsWith("T") ?? false);
    const open = await readdir(`/proc/${process.pid}/fd`);
    const targets = await Promise.all(open.map((fd) => readlink(`/proc/${process.pid}/fd/${fd}`)));
    expect(targets).toEqual(["/dev/null", logFile, logFile, ...files]);
    const text = await readFile(logFile, "utf8");
    expect(text.split("\n")[0]).toBe(files[1]);
    expect(text).not.toMatch(/LD_PRELOAD|FORK_SERVER/);
    expect((await stat(logFile)).mode & 0o777).toBe(0o600);
    for (const mask of ["SigBlk", "SigIgn"]) expect(await statusOf(process.pid, mask)).toBe("0000000000000000");
    const [, , , , , session] = (await readFile(`/proc/${process.pid}/stat`, "utf8")).split(" ");
    expect(Number(session)).toBe(process.pid);
  });

  it("tells how it ended", async () => {
    const server = forkServer();
    expect(await (await run(server, "exit 7")).exited).toEqual({ code: 7, signal: null });
    expect(await (await run(server, "kill -SEGV $$")).exited).toEqual({ code: null, signal: "SIGSEGV" });
    const process = await run(server, "exec sleep 60");
    expect(await process.kill()).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("appends to its log, and follows no link to another file", async () => {
    const server = forkServer();
    await writeFile(logFile, "before\n");
    expect(await output(await run(server, "echo after; echo error >&2"))).toBe("before\nafter\nerror\n");
    await rm(logFile);
    await symlink(join(dir, "elsewhere"), logFile);
    await expect(run(server, "echo x")).rejects.toMatchObject({ code: "QEMU_MISSING", cause: { code: "ELOOP" } });
  });

  it("is not hit by a signal after its end, nor is anybody else", async () => {
    const server = forkServer();
    const bystander = await run(server, "exec sleep 60");
    const process = await server.spawn({ binary: SHELL, argv: ["-c", "exit 0"], logFile });
    process.signal("SIGCONT");
    await process.exited;
    process.signal("SIGKILL");
    expect(await (await run(server, "exit 3")).exited).toEqual({ code: 3, signal: null });
    expect(bystander.exit).toBeUndefined();
  });

  it("is one of fifty at once", async () => {
    const server = forkServer();
    const processes = await Promise.all(Array.from({ length: 50 }, (_, i) => run(server, `exit ${i}`)));
    const codes = await Promise.all(processes.map(async ({ exited }) => (await exited).code));
    expect(codes).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });
});

describe("a fork server", () => {
  it("answers with an error where a file is missing or the machine refuses, and goes on", async () => {
    const server = forkServer();
    const process = await run(server, "exec sleep 60");
    await expect(run(server, "exit", [join(dir, "absent")])).rejects.toMatchObject({ cause: { code: "ENOENT" } });
    const limit = spawn("prlimit", ["--nofile=5:5", "--pid", String(await serverOf(process))], { stdio: "ignore" });
    await once(limit, "close");
    await expect(run(server, "exit")).rejects.toMatchObject({ code: "QEMU_MISSING", cause: { code: "EMFILE" } });
    expect(process.exit).toBeUndefined();
  });

  it.each([
    ["of too many bytes", [":".repeat(20_000)]],
    ["too many", Array.from({ length: 1025 }, () => "")],
    ["with a NUL", ["a\0b"]],
  ])("refuses arguments %s", async (_, argv) => {
    const spawning = QemuProcess.spawn({ binary: SHELL, argv, logFile, forkServer: forkServer() });
    await expect(spawning).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("is left by its children when it is closed, who still tell of their end", async () => {
    const server = forkServer();
    const process = await run(server, "exec sleep 60");
    const pid = await serverOf(process);
    await server[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await gone(pid);
    expect(process.exit).toBeUndefined();
    expect(await process.kill()).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("that is killed leaves its children, and the next process has a new one", async () => {
    const server = forkServer();
    const first = await runs(await run(server, "exec sleep 60"));
    const lost = await serverOf(first);
    process.kill(lost, "SIGKILL");
    await gone(lost);
    const second = await run(server, "exec sleep 60");
    expect(await serverOf(second)).not.toBe(lost);
    expect(await statusOf(second.pid, "THP_enabled")).toBe("0");
    expect(first.exit).toBeUndefined();
    expect(await first.kill()).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("that is killed loses no signal and starts nothing unheard of", async () => {
    const server = forkServer();
    const first = await runs(await run(server, "exec sleep 60"));
    const stuck = await serverOf(first);
    process.kill(stuck, "SIGSTOP");
    await until(async () => (await statusOf(stuck, "State"))?.startsWith("T") ?? false);
    const killed = first.kill();
    const second = run(server, `echo started; exec sleep 60`);
    process.kill(stuck, "SIGKILL");
    expect(await killed).toEqual({ code: null, signal: "SIGKILL" });
    expect(await serverOf(await second)).not.toBe(process.pid);
    await until(async () => (await readFile(logFile, "utf8")) !== "");
    expect(await readFile(logFile, "utf8")).toBe("started\n");
  });

  it("is not replaced for ever", async () => {
    const server = forkServer();
    for (let i = 0; i < 5; i++) {
      const pid = await serverOf(await runs(await run(server, "exec sleep 60")));
      process.kill(pid, "SIGKILL");
      await gone(pid);
    }
    await until(async () => !(await server.available()));
    expect(await serverOf(await run(server, "exec sleep 60"))).toBe(process.pid);
  });

  it.each(["killed", "leave"])("ends with its owner (%s), and its children do not", async (then) => {
    const owner = spawn(process.execPath, [OWNER, libraryDir, logFile, then], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(owner, "exit");
    const [line] = await once(owner.stdout, "data");
    const [pid, server] = JSON.parse(line);
    const startTime = await processStartTime(pid);
    if (then === "killed") owner.kill("SIGKILL");
    const [code] = await ended;
    expect(code).toBe(then === "killed" ? null : 0);
    await gone(server);
    expect(await processStartTime(pid)).toBe(startTime);
    await endProcess({ pid, startTime: startTime ?? 0 });
  });
});

describe("without a fork server", () => {
  it("runs a script in QEMU's place, says so once, and preloads nothing into it", async () => {
    const binary = join(dir, "wrapper");
    await writeFile(binary, '#!/bin/sh\necho "preloaded: $LD_PRELOAD"; cat <&3\n', { mode: 0o755 });
    await writeFile(join(dir, "file"), "inherited\n");
    const { info, logger } = collectingLogger();
    const server = forkServer(binary, logger);
    for (let i = 0; i < 2; i++) {
      const inheritFiles = [join(dir, "file")];
      const process = await QemuProcess.spawn({ binary, argv: [], logFile, inheritFiles, forkServer: server });
      expect(await process.exited).toEqual({ code: 0, signal: null });
    }
    expect(await readFile(logFile, "utf8")).toBe("preloaded: \ninherited\n".repeat(2));
    expect(info).toEqual([{ binary, reason: "it is not an ELF program" }]);
    expect(await server.available()).toBe(false);
  });

  it("does without a compiler, and with a library that cannot be loaded", async () => {
    const { info, logger } = collectingLogger();
    const other = join(dir, "library");
    vi.stubEnv("PATH", dir);
    const uncompiled = servers.use(ForkServer.start({ binary: SHELL, libraryDir: other, logger }));
    expect(await uncompiled.available()).toBe(false);
    vi.unstubAllEnvs();
    await writeFile(await forkServerLibrary(other), "no library");
    const unloadable = servers.use(ForkServer.start({ binary: SHELL, libraryDir: other, logger }));
    expect(await (await run(unloadable, "exit 5")).exited).toEqual({ code: 5, signal: null });
    expect(info).toEqual([
      { binary: SHELL, reason: expect.stringContaining("musl-gcc is not installed") },
      { binary: SHELL, reason: "it ended without an answer" },
    ]);
  });

  it("says that QEMU is missing", async () => {
    const server = forkServer("/nonexistent/qemu");
    const spawning = QemuProcess.spawn({ binary: "/nonexistent/qemu", argv: [], logFile, forkServer: server });
    await expect(spawning).rejects.toMatchObject({ code: "QEMU_MISSING" });
  });
});
