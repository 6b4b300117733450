import { unlink } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Vm } from "../../lib/clone/index.ts";
import { processStartTime } from "../../lib/host/index.ts";
import type { ActivateSpec, Pool } from "../../lib/pool/index.ts";
import { eventually } from "../support/eventually.ts";
import { FakeHost, openFakePool } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft, NOTHING_COLLECTED } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";
import { activateOne, announced, fakeOf, said } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };

/** Those that were taken over have no order of their own. */
function byName({ vms }: Pool): Vm[] {
  return vms.toSorted((a, b) => a.hostname.localeCompare(b.hostname));
}

describe("closing with vms: keep", () => {
  it("leaves VMs running to whoever opens next, with all that they have", async () => {
    await using fake = await openFakePool();
    const spec: ActivateSpec = { ...SPEC, network: { fabric: "mcast", subnet6: "fd77::/64" }, ttlMs: 3_600_000 };
    const [running, parked] = await fake.pool.activate(2, spec);
    await running?.writeFile("/root/score", "7");
    await parked?.park();
    await fake.pool.close({ vms: "keep" });
    expect([running?.state, parked?.state]).toEqual(["detached", "detached"]);

    await using next = await fake.host.open();
    expect(fake.qemu.vms).toHaveLength(2); // none was started again
    expect(byName(next).map(({ state }) => state)).toEqual(["running", "parked"]);
    for (const [i, before] of [running, parked].entries()) {
      const vm = byName(next)[i];
      for (const part of ["id", "pid", "hostname", "address", "address6", "mac", "machineId", "sshHostKey"] as const) {
        expect(vm?.[part], part).toBe(before?.[part]);
      }
      for (const part of ["labels", "createdAt", "timings", "origin", "substrate"] as const) {
        expect(vm?.[part], part).toEqual(before?.[part]);
      }
    }
    const [first, second] = byName(next);
    expect(new TextDecoder().decode(await first?.readFile("/root/score"))).toBe("7");
    await second?.resume();
    expect((await second?.exec(["hostname"]))?.stdout).toBe("fake-1\n");
    await next.close();
    await expectNothingLeft(fake.host.paths);
  });

  it("leaves handles that are of no more use, and do no harm", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await fake.pool.close({ vms: "keep" });
    const calls = [
      vm.exec(["true"]),
      vm.readFile("/a"),
      vm.park(),
      vm.resume(),
      vm.release(),
      vm.extend(1),
      vm.memory(),
    ];
    for (const call of calls)
      await expect(call).rejects.toMatchObject({ code: "VM_GONE", details: { state: "detached" } });
    await vm[Symbol.asyncDispose](); // at the end of an `await using` block
    await using next = await fake.host.open();
    expect(next.vms.map(({ state }) => state)).toEqual(["running"]);
  });

  it("ends docked clones all the same", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await fake.pool.dock("fake", { min: 2 });
    await fake.pool.docked("fake", { count: 2 });
    await fake.pool.close({ vms: "keep" });
    const alive = await Promise.all(fake.qemu.vms.map(({ pid }) => processStartTime(pid)));
    expect(alive.map((time) => time !== undefined)).toEqual([true, false, false]);
    await using next = await fake.host.open();
    expect(await next.gc()).toEqual(NOTHING_COLLECTED);
    expect(next.vms.map(({ id }) => id)).toEqual([vm.id]);
  });

  it("of none leaves nothing at all", async () => {
    await using fake = await openFakePool();
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    await fake.pool.close({ vms: "keep" });
    await expectNothingLeft(fake.host.paths);
  });
});

describe("a VM that was taken over", () => {
  it("says that its QEMU ended within a second, once, and its leases are free", async () => {
    await using fake = await openFakePool();
    await fake.pool.activate(2, SPEC);
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    const [victim, other] = byName(next);
    const seen = announced(next);
    process.kill(victim?.pid ?? 0, "SIGKILL");
    await eventually(() => expect(seen).toEqual(["exit fake-0"]));
    await expect(victim?.exec(["true"])).rejects.toMatchObject({ code: "VM_GONE" });
    expect(next.vms).toEqual([other]);
    expect(await activateOne(next)).toMatchObject({ hostname: "fake-0", address: "10.77.0.1" });
    expect(seen).toEqual(["exit fake-0", "activated fake-0"]);
  });

  it("is released like any other", async () => {
    await using fake = await openFakePool();
    const { pid } = await activateOne(fake.pool);
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open();
    await next.vms[0]?.release();
    expect(await processStartTime(pid)).toBeUndefined();
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it("is found as its record says, whatever its last owner got to", async () => {
    await using host = await FakeHost.create();
    await addFakeSubstrate(host.paths);
    // Killed between making it durable that the VM is parked, and pausing it.
    const killAt = { failpoint: "park.intended", time: 1 };
    await using owner = PoolOwner.begin({ options: host.options(), does: "life", killAt });
    await owner.ended();
    await using pool = await host.open();
    const vm = pool.vms.find(({ labels }) => labels.match === "1");
    expect(vm?.state).toBe("parked");
    expect(fakeOf({ qemu: host.qemu }, { pid: vm?.pid ?? 0 }).steps.at(-1)).toBe("stop");
    await vm?.resume();
    expect(vm === undefined ? "" : await said(vm, "hostname")).toBe(vm?.hostname);
  });

  it("and does not answer is kept as unresponsive, and holds up no other for long", async () => {
    await using fake = await openFakePool();
    const [stopped, other] = await fake.pool.activate(2, SPEC);
    await fake.pool.close({ vms: "keep" });
    process.kill(stopped?.pid ?? 0, "SIGSTOP");
    // In real time, which is some seconds: a clock that only this process hurries along would pass the other VM over as well.
    await using next = await fake.host.open();
    expect(byName(next).map(({ pid, state }) => [pid, state])).toEqual([
      [stopped?.pid, "unresponsive"],
      [other?.pid, "running"],
    ]);
    process.kill(stopped?.pid ?? 0, "SIGCONT");
    await eventually(async () => {
      await byName(next)[0]?.heartbeat(500);
      expect(byName(next)[0]?.state).toBe("running");
    });
  });

  it("whose monitor's socket was deleted is unresponsive, and can be released", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await fake.pool.close({ vms: "keep" });
    await unlink(fake.host.paths.vm(vm.id).qmp);
    await using next = await fake.host.open();
    expect(next.vms.map(({ state }) => state)).toEqual(["unresponsive"]);
    await expect(next.vms[0]?.park()).rejects.toMatchObject({ code: "VM_UNRESPONSIVE" });
    await next.vms[0]?.release();
    expect(await processStartTime(vm.pid)).toBeUndefined();
    await expectNothingLeft(fake.host.paths, { open: true });
  });
});

describe("a VM whose monitor's socket is deleted", () => {
  it("goes on by the connection that there is", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    const { qmp, agent, helper } = fake.host.paths.vm(vm.id);
    for (const socket of [qmp, agent, helper]) await unlink(socket);
    await vm.heartbeat(1000);
    await vm.park();
    await vm.resume();
    expect(await said(vm, "hostname")).toBe("fake-0");
    await vm.release();
    await expectNothingLeft(fake.host.paths, { open: true });
  });
});

describe("a VM that ended while nobody owned it", () => {
  it("is gone for the next owner, with its leases", async () => {
    await using fake = await openFakePool();
    const [dead, alive] = await fake.pool.activate(2, SPEC);
    await fake.pool.close({ vms: "keep" });
    process.kill(dead?.pid ?? 0, "SIGKILL");
    await eventually(async () => expect(await processStartTime(dead?.pid ?? 0)).toBeUndefined());
    await using next = await fake.host.open();
    expect(next.vms.map(({ id }) => id)).toEqual([alive?.id]);
    expect(await activateOne(next)).toMatchObject({ hostname: "fake-0", address: "10.77.0.1" });
  });
});
