import { randomUUID } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "../../lib/core/index.ts";
import { ensurePrivateDir, QemuInstance, type VmPaths } from "../../lib/host/index.ts";
import { machineConfig } from "../../lib/substrate/machine.ts";
import { FakeHost } from "../support/fake-host.ts";
import { FakeServer } from "../support/fake-line-server.ts";
import { FAKE_QEMU } from "../support/fake-qemu-control.ts";
import { createDisk, FAKE_GUEST } from "../support/fake-substrate.ts";

let host: FakeHost;
let paths: VmPaths;
beforeEach(async () => {
  host = await FakeHost.create();
  for (const dir of [host.paths.vms, host.paths.runtimeDir, host.paths.sharedMemoryDir]) await ensurePrivateDir(dir);
  paths = host.paths.vm("abc");
  await QemuInstance.prepareFolders(paths);
  await createDisk(paths.overlay);
});
afterEach(() => host[Symbol.asyncDispose]());

function launch(): Promise<QemuInstance> {
  const config = machineConfig({
    id: "abc",
    uuid: randomUUID(),
    accelerator: "tcg",
    cpuModel: "qemu64",
    guest: FAKE_GUEST,
    paths,
    ram: { file: host.paths.buildRam("abc"), share: true },
    disk: { file: paths.overlay },
  });
  return QemuInstance.launch({ qemu: { path: host.qemu.path, ...FAKE_QEMU }, config, paths, logger: silentLogger });
}

describe("QemuInstance", () => {
  it("is a process with a monitor, in folders that only this user can enter", async () => {
    await using instance = await launch();
    expect((await instance.qmp.execute("query-status")).status).toBe("running");
    for (const dir of [paths.dir, paths.sockets]) expect((await stat(dir)).mode & 0o777).toBe(0o700);
    for (const socket of [paths.qmp, paths.agent, paths.helper]) expect((await stat(socket)).mode & 0o777).toBe(0o600);
  });

  it("ends its process when disposed; the folders go separately", async () => {
    const instance = await launch();
    await instance[Symbol.asyncDispose]();
    expect(instance.process.exit).toEqual({ code: null, signal: "SIGKILL" });
    await QemuInstance.removeFolders(paths);
    await QemuInstance.removeFolders(paths);
    expect(await readdir(host.paths.vms)).toEqual([]);
    expect(await readdir(host.paths.runtimeDir)).toEqual([]);
  });

  it("refuses folders that are there already", async () => {
    await expect(QemuInstance.prepareFolders(paths)).rejects.toMatchObject({ code: "EEXIST" });
  });

  it("says what QEMU said when it did not start", async () => {
    host.qemu.script = () => ({ at: { start: "die" } });
    await expect(launch()).rejects.toMatchObject({
      code: "QEMU_EXITED",
      message: expect.stringContaining("the script ends me at start"),
    });
  });

  it("no longer looks for the monitor of a QEMU that has ended", async () => {
    host.qemu.script = () => ({ at: { start: "die" } });
    await expect(launch()).rejects.toMatchObject({ code: "QEMU_EXITED" });
    await using server = await FakeServer.listen(() => ({ onLine: () => {} }), paths.qmp);
    const connected = server.connection().then(() => "connected");
    expect(await Promise.race([connected, delay(20, "nobody came")])).toBe("nobody came");
  });
});
