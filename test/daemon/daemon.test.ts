import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { connect } from "../../client/index.ts";
import { type ConfigInput, Daemon } from "../../daemon/index.ts";
import { fakeConfig, openFakeDaemon } from "../support/fake-daemon.ts";
import { FakeHost } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { ask } from "../support/raw-http.ts";

const PROCESS = fileURLToPath(new URL("../support/daemon-process.ts", import.meta.url));

async function start(more: ConfigInput = {}) {
  const fake = await openFakeDaemon(more);
  onTestFinished(() => fake[Symbol.asyncDispose]());
  return fake;
}

/** A host whose VMs are ended at the end of the test, whoever has them by then. */
async function newHost(): Promise<FakeHost> {
  const host = await FakeHost.create();
  onTestFinished(async () => {
    await using owned = new AsyncDisposableStack();
    owned.use(host);
    owned.use(await host.open());
  });
  return host;
}

async function startProcess(config: ConfigInput): Promise<{ readonly child: ChildProcess; readonly socket: string }> {
  const child = spawn(process.execPath, [PROCESS, JSON.stringify(config)], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  for await (const line of child.stdout) return { child, ...JSON.parse(String(line)) };
  throw new Error("the daemon said nothing");
}

describe("a daemon", () => {
  it("has a socket for its owner only, in a folder of its owner's", async () => {
    const { daemon, pool } = await start();
    const { mode } = await stat(daemon.place.socket);
    expect([(mode & 0o170000) === 0o140000, mode & 0o777]).toEqual([true, 0o600]);
    expect((await stat(dirname(daemon.place.socket))).mode & 0o777).toBe(0o700);
    await pool.gc();
    expect((await stat(daemon.place.socket)).ino).toBeGreaterThan(0);
    expect((await ask(daemon.place.socket, { path: "/healthz" })).json).toEqual({ ok: true });
  });

  it("owns its state directory alone, and is not disturbed by another", async () => {
    const { daemon, host, pool } = await start();
    await expect(Daemon.start(fakeConfig(host))).rejects.toMatchObject({ code: "STATE_DIR_LOCKED" });
    await expect(host.open()).rejects.toMatchObject({ code: "STATE_DIR_LOCKED" });
    expect((await ask(daemon.place.socket, { path: "/v1" })).json.pid).toBe(process.pid);
    expect(await pool.activate(1, { substrate: "fake" })).toHaveLength(1);
  });

  it("leaves VMs and docks to the next one, and takes its socket away", async () => {
    const { daemon, host, pool } = await start();
    const [vm] = await pool.activate(1, { substrate: "fake", labels: { match: "17" } });
    await pool.dock("fake", { min: 1 });
    await pool.docked("fake", { count: 1 });
    await pool.close();
    await Promise.all([daemon.stop(), daemon.stop()]);
    await daemon.stop();
    await expect(stat(daemon.place.socket)).rejects.toMatchObject({ code: "ENOENT" });
    process.kill(vm?.pid ?? 0, 0);
    await using next = await Daemon.start(fakeConfig(host));
    await using again = await connect(host.directories);
    const taken = again.vms.map(({ id, pid, labels, state }) => ({ id, pid, labels, state }));
    expect(taken).toEqual([{ id: vm?.id, pid: vm?.pid, labels: { match: "17" }, state: "running" }]);
    expect((await again.vms[0]?.exec(["hostname"]))?.stdout).toBe(`${vm?.hostname}\n`);
    expect(again.docks).toMatchObject([{ substrate: "fake", min: 1 }]);
    expect(await again.docked("fake", { count: 1 })).toMatchObject({ ready: 1 });
    await again.undock("fake");
    await again.vms[0]?.release();
    await expectNothingLeft(host.paths, { open: true });
    expect(next.place.socket).toBe(daemon.place.socket);
  });

  it("answers what is under way before it stops, and begins nothing else", async () => {
    const { daemon, host } = await start();
    const { socket } = daemon.place;
    const spec = { substrate: "fake" };
    const call = ask(socket, {
      method: "POST",
      path: "/v1/vms",
      body: { spec, count: 4 },
      headers: { "x-request-id": "under-way" },
    });
    await expect.poll(async () => (await ask(socket, { path: "/v1/operations/under-way" })).status).toBe(200);
    const stopped = daemon.stop();
    const late = await ask(socket, { method: "POST", path: "/v1/vms", body: { spec } });
    expect(late.json).toMatchObject({ status: 503, code: "POOL_CLOSED" });
    expect((await ask(socket, { path: "/readyz" })).json).toEqual({ ready: false });
    const answered = await call;
    expect(answered.status).toBe(201);
    await stopped;
    await using pool = await host.open();
    const answeredIds = answered.json.outcomes.map(({ vm }: { vm: { id: string } }) => vm.id);
    expect(pool.vms.map(({ id }) => id).toSorted()).toEqual(answeredIds.toSorted());
  });

  it("that cannot have its port leaves nothing", async () => {
    const host = await newHost();
    await using undo = new AsyncDisposableStack();
    const other = createServer();
    undo.defer(() => void other.close());
    await once(other.listen(0, "127.0.0.1"), "listening");
    const port = (other.address() as { port: number }).port;
    const config = fakeConfig(host, { listen: { tcp: `127.0.0.1:${port}` } });
    await expect(Daemon.start(config)).rejects.toMatchObject({
      code: "HOST_IO_FAILED",
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
    await expectNothingLeft(host.paths);
    await using later = await Daemon.start(fakeConfig(host));
    expect(later.url).toBeUndefined();
  });

  it("refuses a configuration before it touches anything", async () => {
    const host = await newHost();
    for (const more of [{ typo: 1 }, { memoryMiB: 0 }, { parallelStarts: 1000 }, { listen: { tcp: "nowhere" } }]) {
      await expect(Daemon.start(fakeConfig(host, more as ConfigInput))).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
    expect(await readdir(dirname(host.directories.stateDir))).toEqual([]);
  });

  it("sets the docks of its configuration, also of a substrate that comes later", async () => {
    const { pool, host } = await start({ docks: { fake: { min: 0, max: 2 }, copy: { min: 0, max: 3 } } });
    // The first one came after the daemon had started, and by nobody's call.
    expect(pool.docks).toEqual([]);
    const file = join(host.directories.stateDir, "fake.tar.zst");
    await pool.exportSubstrate("fake", file);
    await pool.importSubstrate(file, { name: "copy" });
    await expect.poll(() => pool.docks.map(({ substrate, max }) => [substrate, max])).toEqual([["copy", 3]]);
  });

  it("that was killed is followed by one that takes over", async () => {
    const host = await newHost();
    {
      await using pool = await host.open();
      expect(pool.vms).toEqual([]);
      await addFakeSubstrate(host.paths);
    }
    const first = await startProcess(fakeConfig(host));
    const created = await ask(first.socket, { method: "POST", path: "/v1/vms", body: { spec: { substrate: "fake" } } });
    expect(created.status).toBe(201);
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    expect((await stat(first.socket)).isSocket()).toBe(true);
    await expect(connect(host.directories)).rejects.toMatchObject({ code: "DAEMON_UNREACHABLE" });
    const second = await startProcess(fakeConfig(host));
    expect(second.socket).toBe(first.socket);
    await using pool = await connect(host.directories);
    expect(pool.vms.map(({ id }) => id)).toEqual([created.json.outcomes[0].vm.id]);
    await pool.vms[0]?.release();
    await pool.close();
    second.child.kill("SIGTERM");
    expect(await Promise.race([once(second.child, "exit"), delay(20_000)])).toEqual([0, null]);
    await expectNothingLeft(host.paths);
  }, 40_000);
});
