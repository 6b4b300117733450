import { readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { processStartTime } from "../../lib/host/index.ts";
import { processStartTimeSync } from "../../lib/host/proc.ts";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { eventually } from "../support/eventually.ts";
import { openFakePool } from "../support/fake-host.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

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

  it("has no memory to tell of from the moment on, before its end was heard of", async () => {
    await using fake = await openFakePool();
    const [vm] = await fake.pool.activate(1, SPEC);
    if (!vm) throw new Error("no VM");
    process.kill(vm.pid, "SIGKILL");
    while (processStartTimeSync(vm.pid) !== undefined); // without a turn of the event loop
    await expect(vm.memory()).rejects.toMatchObject({ code: "VM_GONE" });
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
    await eventually(async () => expect(await readdir(fake.host.paths.vms)).toHaveLength(1));
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
