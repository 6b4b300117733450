import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { type Directories, Paths, processStartTime, runTool } from "../../lib/host/index.ts";
import { type ActivateSpec, Pool } from "../../lib/pool/index.ts";
import { miniRecipe } from "../../lib/substrate/recipes/mini.ts";
import { FakeHost, openFakePool } from "../support/fake-host.ts";
import { FakeQemu } from "../support/fake-qemu-control.ts";
import { addFakeGuestFiles, addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";

const SPEC: ActivateSpec = { substrate: "fake" };

describe("a VM whose QEMU is killed", () => {
  it("says so once, when all that it held is given back; others stay", async () => {
    await using fake = await openFakePool();
    const [victim, other] = await fake.pool.activate(2, SPEC);
    if (!victim || !other) throw new Error("no VMs");
    const seen: unknown[] = [];
    const { promise: exited, resolve } = Promise.withResolvers<void>();
    victim.events.on("released", () => seen.push("released"));
    victim.events.on("exit", (cause) => {
      seen.push(cause, [...fake.pool.vms]);
      resolve();
    });
    process.kill(victim.pid, "SIGKILL");
    await exited;
    await victim.release();
    await victim.release();
    expect(seen).toEqual([{ code: null, signal: "SIGKILL" }, [other]]);
    expect(victim.state).toBe("failed");
    expect(await readdir(fake.host.paths.vms)).toEqual([other.id]);
    expect(await readdir(fake.host.paths.runtimeDir)).toEqual([other.id]);
    expect((await other.exec(["hostname"])).stdout).toBe(`${other.hostname}\n`);
    const [next] = await fake.pool.activate(1, SPEC);
    expect(next).toMatchObject({ hostname: victim.hostname, address: victim.address });
  });

  it("fails what is called on it with VM_GONE", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    if (!vm) throw new Error("no VM");
    const exited = new Promise((resolve) => vm.events.once("exit", resolve));
    process.kill(vm.pid, "SIGKILL");
    await exited;
    const gone = { code: "VM_GONE", details: { state: "failed" } };
    await expect(vm.exec(["true"])).rejects.toMatchObject(gone);
    await expect(vm.readFile("/etc/hostname")).rejects.toMatchObject(gone);
    await expect(vm.writeFile("/x", "")).rejects.toMatchObject(gone);
    await expect(vm.memory()).rejects.toMatchObject(gone);
  });

  it("fails a call under way with VM_GONE", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ at: { agent: "hang-up" } });
    const [vm] = await fake.pool.activate(1, SPEC);
    await expect(vm?.exec(["sleep", "60"])).rejects.toMatchObject({ code: "VM_GONE" });
  });

  it("before its call has returned, fails that call", async () => {
    await using fake = await openFakePool({ parallelStarts: 2 });
    fake.qemu.script = (vm) => (vm === 1 ? { at: { load: "hold" } } : {});
    const activating = fake.pool.activate(2, SPEC);
    activating.catch(() => {});
    const second = await fake.qemu.reached("load", 1);
    const first = await fake.qemu.reached("rx-filter", 0); // verified: nothing of it is left to be done
    await new Promise(setImmediate);
    expect(fake.pool.vms).toEqual([]); // nobody has it before all are made
    process.kill(first.pid, "SIGKILL");
    await vi.waitFor(async () => expect(await readdir(fake.host.paths.vms)).toHaveLength(1));
    second.pass("load");
    await expect(activating).rejects.toMatchObject({ code: "QEMU_EXITED" });
  });
});

describe("release", () => {
  it("ends the VM also when a listener throws", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    if (!vm) throw new Error("no VM");
    const { pid } = vm;
    const warned = new Promise((resolve) => process.once("warning", resolve));
    vm.events.on("released", () => {
      throw new Error("the listener's own");
    });
    await vm.release();
    expect(await warned).toMatchObject({ message: "the listener's own" });
    expect(await processStartTime(pid)).toBeUndefined();
    expect(fake.pool.vms).toEqual([]);
  });

  it("ends the process and leaves nothing, however often it is called", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    if (!vm) throw new Error("no VM");
    const events: string[] = [];
    vm.events.on("released", () => events.push("released"));
    vm.events.on("exit", () => events.push("exit"));
    await Promise.all([vm.release(), vm.release(), vm[Symbol.asyncDispose]()]);
    expect(events).toEqual(["released"]);
    expect(vm.state).toBe("released");
    expect(await processStartTime(vm.pid)).toBeUndefined();
    await expectNothingLeft(fake.host.paths, { open: true });
    await expect(vm.exec(["true"])).rejects.toMatchObject({ code: "VM_GONE", details: { state: "released" } });
  });

  it("fails calls under way with VM_GONE", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    if (!vm) throw new Error("no VM");
    const running = vm.exec(["sleep", "60"]);
    running.catch(() => {});
    await fake.qemu.reached("agent");
    await vm.release();
    await expect(running).rejects.toMatchObject({ code: "VM_GONE" });
  });

  it("ends a QEMU that ignores SIGTERM", async () => {
    await using fake = await openFakePool();
    fake.qemu.script = () => ({ ignoreSigterm: true });
    const [vm] = await fake.pool.activate(1, SPEC);
    await vm?.release();
    await expectNothingLeft(fake.host.paths, { open: true });
  });
});

describe("one state directory", () => {
  it("has one pool in a process", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    const second = Pool.open(fake.host.options());
    await expect(second).rejects.toMatchObject({
      code: "STATE_DIR_LOCKED",
      message: expect.stringContaining(`${process.pid}`),
    });
    expect((await vm?.exec(["true"]))?.exitCode).toBe(0); // untouched by the attempt
  });

  it("has one pool on a machine, and is free when that pool's process is gone", async () => {
    await using host = await FakeHost.create();
    {
      await using owner = await PoolOwner.start({ options: host.options(), does: { vms: 0 } });
      expect(owner.said).toEqual(["ready"]);
      const message = expect.stringContaining(`process ${owner.process.pid}`);
      await expect(host.open()).rejects.toMatchObject({ code: "STATE_DIR_LOCKED", message });
      await using pool = await host.open({ stateDir: `${host.directories.stateDir}-2` });
      expect(pool.vms).toEqual([]);
    }
    await using pool = await host.open();
    await using second = await PoolOwner.start({ options: host.options(), does: { vms: 0 } });
    expect(second.said).toEqual(["STATE_DIR_LOCKED"]);
    expect(pool.vms).toEqual([]);
  });
});

describe("opening after the owner was killed", () => {
  it("takes over its VMs, and touches nobody else's", async () => {
    await using host = await FakeHost.create();
    await addFakeSubstrate(host.paths);
    {
      await using owner = await PoolOwner.start({ options: host.options(), does: { vms: 2 } });
      expect(owner.said).toEqual(["ready"]);
    }
    const pids = host.qemu.vms.map(({ pid }) => pid);
    expect(await living(pids)).toEqual(pids);
    await mkdir(host.paths.substrateStaging("fake", "abandoned").dir);
    const { stateDir, vms } = host.paths;
    await using bystanders = new Bystanders([
      ["guest=vm-substrate-abc", `{"filename":"${stateDir}-other/vms/abc/overlay.qcow2"}`],
      ["guest=vm-substrate-abc"],
      ["guest=other", `{"filename":"${vms}/abc/overlay.qcow2"}`],
      [`${vms}/abc/qemu.log`],
      [`xguest=vm-substrate-abc`, `"${vms}/x"`],
    ]);
    await using pool = await host.open();
    expect(await living(pids)).toEqual(pids);
    expect(await living(bystanders.pids)).toEqual(bystanders.pids);
    await bystanders[Symbol.asyncDispose]();
    expect(pool.vms.map(({ hostname, state }) => `${hostname} ${state}`).toSorted()).toEqual([
      "fake-0 running",
      "fake-1 running",
    ]);
    for (const vm of pool.vms) expect((await vm.exec(["hostname"])).stdout).toBe(`${vm.hostname}\n`);
    const [third] = await pool.activate(1, SPEC);
    expect(third).toMatchObject({ hostname: "fake-2", address: "10.77.0.3" });
    await Promise.all(pool.vms.map((vm) => vm.release()));
    expect(await living(pids)).toEqual([]);
    await expectNothingLeft(host.paths, { open: true });
  });

  it("ends its build's VM", async () => {
    await using host = await FakeHost.create();
    await addFakeGuestFiles(host.paths, miniRecipe);
    host.qemu.script = () => ({ at: { agent: "hold" } });
    {
      await using owner = PoolOwner.begin({ options: host.options(), does: "build" });
      await host.qemu.reached("agent");
      expect(owner.said).toEqual([]);
    }
    await using pool = await host.open();
    expect(pool.vms).toEqual([]);
    expect(await living(host.qemu.vms.map(({ pid }) => pid))).toEqual([]);
  });

  it("knows its VMs when the path has characters that JSON escapes", async () => {
    await using host = await FakeHost.create();
    const options = host.options({ stateDir: `${host.directories.stateDir}"\\` });
    await addFakeSubstrate(new Paths(options));
    {
      await using owner = await PoolOwner.start({ options, does: { vms: 1 } });
      expect(owner.said).toEqual(["ready"]);
    }
    const pids = host.qemu.vms.map(({ pid }) => pid);
    await using pool = await Pool.open(options);
    expect(pool.vms.map(({ pid }) => pid)).toEqual(pids);
    await pool.close();
    expect(await living(pids)).toEqual([]);
  });
});

async function living(pids: readonly number[]): Promise<number[]> {
  const times = await Promise.all(pids.map(processStartTime));
  return pids.filter((_, i) => times[i] !== undefined);
}

/** Processes that only look like ours. */
class Bystanders implements AsyncDisposable {
  readonly #children: readonly ChildProcess[];

  constructor(argvs: readonly (readonly string[])[]) {
    this.#children = argvs.map((argv) =>
      spawn("/bin/sh", ["-c", "read line", ...argv], { stdio: ["pipe", "ignore", "ignore"] }),
    );
  }

  get pids(): number[] {
    return this.#children.map(({ pid }) => pid ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    }
  }
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
