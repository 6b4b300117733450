import { describe, expect, it } from "vitest";
import { FAILPOINTS, type Failpoint } from "../../lib/clone/index.ts";
import { Pool } from "../../lib/pool/index.ts";
import { eventually } from "../support/eventually.ts";
import { FakeHost } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { KEYED, liveALife } from "../support/life.ts";
import { expectNothingLeft, NOTHING_COLLECTED } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";

/** Reached by whoever opens after a crash, not in a life. */
const RECOVERING: readonly Failpoint[] = FAILPOINTS.filter((name) => name.startsWith("recover."));
/** In the background, long after: see flattening.test.ts. */
const FLATTENING: readonly Failpoint[] = FAILPOINTS.filter((name) => name.startsWith("flatten."));
const LIVING: readonly Failpoint[] = FAILPOINTS.filter((name) => ![...RECOVERING, ...FLATTENING].includes(name));

async function hostWithSubstrate(): Promise<FakeHost> {
  const host = await FakeHost.create();
  await addFakeSubstrate(host.paths);
  return host;
}

/** Opening takes stock as well. */
function timeOf(failpoint: Failpoint): number {
  return failpoint.startsWith("gc.") ? 2 : 1;
}

/** Every VM answers with its name and they differ in all that must; then all go, and nothing is left. */
async function expectWhole(pool: Pool, host: FakeHost): Promise<void> {
  await pool.dock("fake", { min: 0 });
  expect(await pool.gc()).toEqual(NOTHING_COLLECTED);
  for (const vm of pool.vms) {
    if (vm.state === "parked") await vm.resume();
    expect(vm.state).toBe("running");
    expect((await vm.exec(["hostname"])).stdout).toBe(`${vm.hostname}\n`);
  }
  for (const part of ["id", "hostname", "address", "mac", "pid"] as const) {
    expect(new Set(pool.vms.map((vm) => vm[part])).size).toBe(pool.vms.length);
  }
  await Promise.all(pool.vms.map((vm) => vm.release()));
  await eventually(() => expectNothingLeft(host.paths, { open: true })); // docked clones end in the background
  const names = (await pool.activate(2, { substrate: "fake" })).map(
    ({ hostname, address }) => `${hostname} ${address}`,
  );
  expect(names).toEqual(["fake-0 10.77.0.1", "fake-1 10.77.0.2"]); // every lease was given back
}

describe("an owner that is killed", () => {
  it.each(LIVING)("at %s leaves to the next what it had handed out, and nothing else", async (failpoint) => {
    await using host = await hostWithSubstrate();
    const options = host.options();
    await using owner = PoolOwner.begin({ options, does: "life", killAt: { failpoint, time: timeOf(failpoint) } });
    await owner.ended();
    expect(owner.process.signalCode).toBe("SIGKILL");
    const handed = owner.said.filter((line) => line.startsWith("handed ")).map((line) => line.slice(7));
    const given = owner.said.filter((line) => line.startsWith("releasing ")).map((line) => line.slice(10));
    {
      await using pool = await host.open();
      const ids = pool.vms.map(({ id }) => id);
      expect(ids).toEqual(expect.arrayContaining(handed.filter((id) => !given.includes(id))));
      // Whether or not the caller heard of it, the call is done once.
      const again = await pool.activate(1, KEYED);
      expect(pool.vms.filter(({ labels }) => labels.match === "1")).toEqual(again);
      if (handed[0] !== undefined) expect(again[0]?.id).toBe(handed[0]);
      await expectWhole(pool, host);
    }
    await expectNothingLeft(host.paths);
  });

  it.each(RECOVERING)("again, while it recovers, at %s, leaves the same", async (failpoint) => {
    await using host = await hostWithSubstrate();
    const options = host.options();
    // A docked clone, one that is being claimed, and one that was handed out.
    await using first = PoolOwner.begin({ options, does: "life", killAt: { failpoint: "claim.linked", time: 2 } });
    await first.ended();
    await using second = PoolOwner.begin({ options, does: { vms: 0 }, killAt: { failpoint, time: 1 } });
    await second.ended();
    expect([first.process.signalCode, second.process.signalCode]).toEqual(["SIGKILL", "SIGKILL"]);
    await using pool = await host.open();
    expect(pool.vms.map(({ id }) => `handed ${id}`)).toEqual(first.said);
    await expectWhole(pool, host);
  });
});

describe("an error thrown", () => {
  it.each(LIVING)("at %s leaves nothing half done", async (failpoint) => {
    await using host = await hostWithSubstrate();
    let times = 0;
    const once = (name: Failpoint) => {
      if (name === failpoint && ++times === timeOf(failpoint)) throw new Error(`failpoint ${name}`);
    };
    {
      await using pool = await Pool.open(host.options(), { failpoint: once });
      await liveALife(pool, () => {}).catch(() => {});
      expect(times).toBeGreaterThanOrEqual(timeOf(failpoint));
      await pool.gc();
      await expectWhole(pool, host);
    }
    await expectNothingLeft(host.paths);
  });

  it.each(RECOVERING)("while it recovers, at %s, fails the opening, and the next one succeeds", async (failpoint) => {
    await using host = await hostWithSubstrate();
    const task = { options: host.options(), does: "life", killAt: { failpoint: "claim.linked", time: 2 } } as const;
    await using owner = PoolOwner.begin(task);
    await owner.ended();
    const failing = (name: Failpoint) => {
      if (name === failpoint) throw new Error(`failpoint ${name}`);
    };
    await expect(Pool.open(host.options(), { failpoint: failing })).rejects.toThrow(failpoint);
    await using pool = await host.open();
    expect(pool.vms.map(({ id }) => `handed ${id}`)).toEqual(owner.said);
    await expectWhole(pool, host);
  });
});
