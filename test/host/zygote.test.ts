import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newId, silentLogger } from "../../lib/core/index.ts";
import { forkServerLibrary } from "../../lib/host/fork-server-library.ts";
import { ForkServer, processStartTime, QemuProcess } from "../../lib/host/index.ts";
import { eventually } from "../support/eventually.ts";

const SOURCE = fileURLToPath(new URL("../support/zygote-program.c", import.meta.url));
const UUID = "8c1f7d0e-4f50-4c57-9e3a-5d2f1f7a6b01";
const run = promisify(execFile);

let common = "";
let program = "";
let dir = "";
let server: ForkServer;
let owned: AsyncDisposableStack;
beforeAll(async () => {
  common = await mkdtemp(join(tmpdir(), "zygote-"));
  await forkServerLibrary(common);
  program = join(common, "program");
  await run("gcc", ["-O1", "-pthread", "-rdynamic", "-o", program, SOURCE]);
});
afterAll(() => rm(common, { recursive: true }));
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zygote-"));
  owned = new AsyncDisposableStack();
  owned.defer(() => rm(dir, { recursive: true }));
  server = owned.use(ForkServer.start({ binary: program, libraryDir: common, logger: silentLogger }));
});
afterEach(() => owned.disposeAsync());

interface Place {
  readonly dir: string;
  readonly sockets: string;
  readonly socket: string;
  readonly logFile: string;
}

async function place(name: string): Promise<Place> {
  const [files, sockets] = [join(dir, name), join(dir, `${name}.run`)];
  await mkdir(files);
  await mkdir(sockets);
  return { dir: files, sockets, socket: join(sockets, "s"), logFile: join(files, "log") };
}

async function startZygote(at: Place, ...more: readonly string[]): Promise<QemuProcess> {
  const request = { binary: program, argv: [at.socket, "file", ...more], logFile: at.logFile };
  const zygote = await QemuProcess.spawnZygote(request, at, server);
  if (zygote === undefined) throw new Error("there is no fork server");
  owned.use(zygote);
  await eventually(async () => expect(await readFile(at.logFile, "utf8")).toBe("ready\n"));
  return zygote;
}

async function fork(zygote: QemuProcess, to: Place, change = {}): Promise<QemuProcess> {
  const argv = ["-name", `guest=${to.dir}`];
  const child = await zygote.fork({ ...to, name: "copy", uuid: UUID, argv, ...change });
  if (child === undefined) throw new Error("there is no fork server");
  return owned.use(child);
}

/** A place with the copy of the zygote's file that a fork needs. */
async function readyPlace(name: string): Promise<Place> {
  const made = await place(name);
  await writeFile(join(made.dir, "file"), "", { mode: 0o600 });
  return made;
}

/** What the program says of itself. */
async function ask({ socket }: Place): Promise<Record<string, unknown>> {
  const connection = createConnection(socket);
  await once(connection, "connect");
  return JSON.parse(await text(connection));
}

async function statusOf(pid: number, field: string): Promise<string | undefined> {
  return new RegExp(`^${field}:\\s+(.*)$`, "m").exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
}

const threadsOf = async (pid: number) => (await readdir(`/proc/${pid}/task`)).length;
const ALIVE = { slept: 1, computed: 1, events: 1 };

async function descriptors(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`);
  return Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`)));
}

describe("a fork of a zygote", () => {
  it("goes on with all threads, from where the zygote was, on its own", async () => {
    const [original, first, second] = [await place("zygote"), await readyPlace("first"), await readyPlace("second")];
    const zygote = await startZygote(original);
    expect(await ask(original)).toEqual({ count: 1, name: "original", answer: 1001, ...ALIVE });
    const copies = [await fork(zygote, first), await fork(zygote, second)];
    for (const at of [first, second]) {
      expect(await ask(at)).toEqual({ count: 2, name: "copy", answer: 1002, ...ALIVE });
      expect(await ask(at)).toEqual({ count: 3, name: "copy", answer: 1003, ...ALIVE });
    }
    expect(await ask(original)).toEqual({ count: 2, name: "original", answer: 1002, ...ALIVE });
    for (const { pid } of [zygote, ...copies]) expect(await threadsOf(pid)).toBe(5);
  });

  it("is a process as any of the server's: with its parent, session, command line, log and end", async () => {
    const [original, at] = [await place("zygote"), await readyPlace("copy")];
    const zygote = await startZygote(original);
    const copy = await fork(zygote, at);
    expect(await statusOf(copy.pid, "PPid")).toBe(await statusOf(zygote.pid, "PPid"));
    const session = (await readFile(`/proc/${copy.pid}/stat`, "utf8")).split(") ")[1]?.split(" ")[3];
    expect(Number(session)).toBe(copy.pid);
    expect(await readFile(`/proc/${copy.pid}/cmdline`, "utf8")).toMatch(`${program}\0-name\0guest=${at.dir}\0`);
    expect(await readFile(`/proc/${zygote.pid}/cmdline`, "utf8")).toMatch(`${program}\0${original.socket}\0file\0`);
    expect(await readlink(`/proc/${copy.pid}/cwd`)).toBe(at.dir);
    expect((await stat(at.logFile)).mode & 0o777).toBe(0o600);
    expect(await copy.kill()).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("has nothing open of its zygote's, and its sockets are its user's alone", async () => {
    const [original, at] = [await place("zygote"), await readyPlace("copy")];
    const zygote = await startZygote(original);
    const before = await descriptors(zygote.pid);
    const copy = await fork(zygote, at);
    await ask(at);
    expect((await stat(at.socket)).mode & 0o777).toBe(0o600);
    const open = await descriptors(copy.pid);
    expect(open.filter((name) => name.includes("zygote/") || name.includes("zygote.run/"))).toEqual([]);
    expect(open).toContain(join(at.dir, "file"));
    const sockets = (names: string[]) => names.filter((name) => name.startsWith("socket:"));
    expect(sockets(open).some((name) => before.includes(name))).toBe(false);
    expect(await readFile(join(at.dir, "file"), "utf8")).toBe("copy");
    expect(await readFile(join(original.dir, "file"), "utf8")).toBe("");
  });

  it("runs on when its zygote is killed, and when the server has ended; a zygote ends with the server", async () => {
    const [original, at] = [await place("zygote"), await readyPlace("copy")];
    const killed = await startZygote(original);
    const copy = await fork(killed, at);
    await ask(at); // it was let run
    await killed.kill();
    expect(await ask(at)).toMatchObject(ALIVE);
    await expect(fork(killed, await readyPlace("late"))).rejects.toThrow("there is no fork server");
    const zygote = await startZygote(await place("next"));
    await server[Symbol.asyncDispose]();
    await eventually(async () => expect(await processStartTime(zygote.pid)).toBeUndefined());
    expect(await ask(at)).toMatchObject(ALIVE);
    expect(await processStartTime(copy.pid)).toBeDefined();
  });

  it("can be made again and again, while the zygote's threads work", { timeout: 120_000 }, async () => {
    const zygote = await startZygote(await place("zygote"));
    for (let i = 0; i < 100; i++) {
      const at = await readyPlace(newId());
      await using copy = await fork(zygote, at);
      expect(await ask(at)).toMatchObject(ALIVE);
      expect(await threadsOf(copy.pid)).toBe(5);
    }
    expect(await threadsOf(zygote.pid)).toBe(5);
  });
});

describe("a fork that cannot be", () => {
  it.each<[string, object, string]>([
    ["a directory that is missing", { dir: "/nonexistent" }, "ENOENT"],
    ["a directory for sockets that is missing", { sockets: "/nonexistent" }, "ENOENT"],
    ["a log that cannot be written", { logFile: "/nonexistent/log" }, "ENOENT"],
    ["a UUID that is none", { uuid: "1" }, "EINVAL"],
    ["a name that is too long", { name: "x".repeat(300) }, "EINVAL"],
    ["sockets whose path is too long", { sockets: `/${"x".repeat(200)}` }, "ENAMETOOLONG"],
  ])("because of %s leaves no process, and the zygote can be forked again", async (_, change, code) => {
    const zygote = await startZygote(await place("zygote"));
    await expect(fork(zygote, await readyPlace("copy"), change)).rejects.toMatchObject({ code });
    await eventually(async () => expect(await childrenOf(await statusOf(zygote.pid, "PPid"))).toEqual([zygote.pid]));
    const at = await readyPlace("again");
    await fork(zygote, at);
    expect(await ask(at)).toMatchObject(ALIVE);
  });

  it("because the copy's file is missing leaves no process", async () => {
    const zygote = await startZygote(await place("zygote"));
    await expect(fork(zygote, await place("copy"))).rejects.toMatchObject({ code: "ENOENT" });
    await eventually(async () => expect(await childrenOf(await statusOf(zygote.pid, "PPid"))).toEqual([zygote.pid]));
  });

  it("because the zygote has what two cannot share leaves no process", async () => {
    const zygote = await startZygote(await place("zygote"), "timer");
    await expect(fork(zygote, await readyPlace("copy"))).rejects.toMatchObject({ code: "ENOTSUP" });
    await eventually(async () => expect(await childrenOf(await statusOf(zygote.pid, "PPid"))).toEqual([zygote.pid]));
  });

  it("because the zygote is stopped is given up, and so is the zygote", { timeout: 30_000 }, async () => {
    const zygote = await startZygote(await place("zygote"));
    process.kill(zygote.pid, "SIGSTOP");
    await expect(fork(zygote, await readyPlace("copy"))).rejects.toMatchObject({ code: "EIO" });
    expect(await zygote.exited).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("because the program has no such variables ends before it begins", async () => {
    const shells = owned.use(ForkServer.start({ binary: "/bin/sh", libraryDir: common, logger: silentLogger }));
    const at = await place("shell");
    const request = { binary: "/bin/sh", argv: ["-c", "exit 0"], logFile: at.logFile };
    await using shell = await QemuProcess.spawnZygote(request, at, shells);
    expect(await shell?.exited).toEqual({ code: 1, signal: null });
  });
});

async function childrenOf(parent: string | undefined): Promise<number[]> {
  return (await readFile(`/proc/${parent}/task/${parent}/children`, "utf8")).trim().split(" ").map(Number);
}
