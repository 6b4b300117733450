import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { Vm } from "../../lib/clone/index.ts";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { type FakePool, openFakePool } from "../support/fake-host.ts";
import type { FakeQemu } from "../support/fake-qemu-control.ts";
import { foreignHost } from "../support/foreign-host.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, fakeOf } from "../support/vms.ts";

const MAC = "52:54:00:00:00:01";
const SPEC: ActivateSpec = { substrate: "fake", network: { fabric: "mcast" } };
/** That a test starts, those included that give way to a foreign host. */
const MOST_VMS = 16;
const addresses = (vms: readonly Vm[]) => vms.map(({ address }) => address);

/** The network that a VM was joined to. */
function fabricOf(fake: FakePool, vm: Vm): { group: string; port: number } {
  const [group = "", port] = String(fakeOf(fake, vm).networks[0]?.mcast).split(":");
  return { group, port: Number(port) };
}

/** Holds each further VM once, until whoever was asked for its address had the time to answer. */
function giveTime(qemu: FakeQemu, step: "rx-filter" | "stop"): void {
  qemu.script = () => ({ at: { [step]: "hold" } });
  const hold = async (index: number) => {
    const vm = await qemu.reached(step, index);
    await sleep(50);
    vm.pass(step);
  };
  for (let index = 1; index <= MOST_VMS; index++) void hold(index); // one may be ended before it gets there
}

/** A pool with one VM, and a foreign host on its network. */
async function withForeignHost(taken: readonly string[], step: "rx-filter" | "stop" = "rx-filter") {
  await using undo = new AsyncDisposableStack();
  const fake = undo.use(await openFakePool({ addressQuarantineMs: 60_000 }));
  const vm = await activateOne(fake.pool, SPEC);
  undo.use(await foreignHost(fabricOf(fake, vm), MAC, taken));
  giveTime(fake.qemu, step);
  const owned = undo.move();
  return { ...fake, vm, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

describe("an address that a foreign host uses", () => {
  it("is quarantined, and the next candidate is taken", async () => {
    await using fake = await withForeignHost(["10.77.0.2", "10.77.0.3"]);
    expect(fake.vm.address).toBe("10.77.0.1");
    expect(addresses(await fake.pool.activate(2, SPEC))).toEqual(["10.77.0.4", "10.77.0.5"]);
    expect(addresses(await fake.pool.activate(1, SPEC))).toEqual(["10.77.0.6"]);
    expect(fake.pool.vms).toHaveLength(4);
  });

  it("is an error to whoever asks for it, and nothing is left of the VM", async () => {
    await using fake = await withForeignHost(["10.77.0.9"]);
    const spec: ActivateSpec = { ...SPEC, network: { fabric: "mcast", addresses: ["10.77.0.9"] } };
    await expect(fake.pool.activate(1, spec)).rejects.toMatchObject({
      code: "ADDRESS_IN_USE",
      details: { address: "10.77.0.9", mac: MAC },
    });
    await expect(fake.pool.activate(1, spec)).rejects.toMatchObject({ code: "LEASE_CONFLICT" });
    expect(fake.pool.vms).toHaveLength(1);
    await fake.vm.release();
    await expectNothingLeft(fake.host.directories, { open: true });
  });

  it("fails its VM alone where each is for itself", async () => {
    await using fake = await withForeignHost(["10.77.0.3"]);
    const outcomes = await fake.pool.activateSettled(2, SPEC);
    expect(outcomes).toMatchObject([{ vm: { address: "10.77.0.2" } }, { error: { code: "ADDRESS_IN_USE" } }]);
    expect(addresses(await fake.pool.activate(1, SPEC))).toEqual(["10.77.0.4"]);
  });

  it("is not given to a clone of the dock", async () => {
    await using fake = await withForeignHost(["10.77.0.2"], "stop");
    await fake.pool.dock("fake", { min: 2, max: 2, primed: true });
    await fake.pool.docked("fake", { count: 2 });
    const vms = await fake.pool.activate(2, SPEC);
    expect(addresses(vms).toSorted()).toEqual(["10.77.0.3", "10.77.0.4"]);
    expect(vms.map(({ origin }) => origin)).toEqual(["docked", "docked"]);
  });
});
