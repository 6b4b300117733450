import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { Paths, processStartTime } from "../../lib/host/index.ts";
import { type ActivateSpec, Pool } from "../../lib/pool/index.ts";
import { miniRecipe } from "../../lib/substrate/recipes/mini.ts";
import { FakeHost, openFakePool } from "../support/fake-host.ts";
import { addFakeGuestFiles, addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";

const SPEC: ActivateSpec = { substrate: "fake" };

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
