import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { Pool, type Vm } from "../../lib/index.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { expectNothingLeft, leftovers, NOTHING_COLLECTED } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";
import { seeded } from "../support/random.ts";

/** How many real VMs are handed out in all, by owners that are killed. */
const ACTIVATIONS = 50;
const MOST_LINES = 12;
const MOST_DELAY_MS = 300;
const ADOPTED = 20;
const SEED = Math.floor(Math.random() * 2 ** 31);

async function expectWhole(pool: Pool): Promise<void> {
  expect(await pool.gc()).toEqual(NOTHING_COLLECTED);
  for (const vm of pool.vms) {
    if (vm.state === "parked") await vm.resume();
    expect(vm.state).toBe("running");
    expect((await vm.exec(["hostname"])).stdout).toBe(`${vm.hostname}\n`);
  }
  for (const part of ["id", "hostname", "address", "mac", "machineId", "pid"] as const) {
    expect(new Set(pool.vms.map((vm) => vm[part])).size, part).toBe(pool.vms.length);
  }
  const ids = pool.vms.map(({ id }) => id).toSorted();
  expect(await leftovers(labDirectories())).toMatchObject({ vms: ids, runtime: ids, staging: [] });
}

test(`owners of real VMs that are killed leave all that they handed out, and nothing else (seed ${SEED})`, {
  timeout: 400_000,
}, async () => {
  const random = seeded(SEED);
  let handedOut = 0;
  for (let round = 1; handedOut < ACTIVATIONS; round++) {
    const does = { churn: Math.floor(random() * 2 ** 31), substrate: "mini" };
    await using owner = PoolOwner.begin({ options: labDirectories(), does });
    await owner.hasSaid(1 + Math.floor(random() * MOST_LINES));
    await delay(random() * MOST_DELAY_MS);
    owner.process.kill("SIGKILL");
    await owner.ended();
    const said = (word: string) => owner.said.filter((line) => line.startsWith(word)).map((line) => line.split(" ")[1]);
    const released = new Set(said("releasing "));
    const handed = said("handed ");
    handedOut += handed.length;
    await using lab = await openLab();
    const ids = lab.pool.vms.map(({ id }) => id);
    expect(ids, `round ${round}`).toEqual(expect.arrayContaining(handed.filter((id) => !released.has(id))));
    await expectWhole(lab.pool);
  }
  await expectNothingLeft(labDirectories());
});

test(`${ADOPTED} running VMs are taken over, none was disturbed`, async () => {
  const first = await Pool.open(labDirectories());
  const vms = await first.activate(ADOPTED, { substrate: "mini" });
  const uptime = async (vm: Vm) => Number((await vm.exec(["cat", "/proc/uptime"])).stdout.split(" ")[0]);
  const before = new Map<string, number>();
  for (const vm of vms) before.set(vm.id, await uptime(vm));
  const pids = vms.map(({ pid }) => pid);
  await first.close({ vms: "keep" });
  await using lab = await openLab();
  expect(lab.pool.vms.map(({ pid }) => pid).toSorted()).toEqual(pids.toSorted());
  for (const vm of lab.pool.vms)
    expect(await uptime(vm)).toBeGreaterThan(before.get(vm.id) ?? Number.POSITIVE_INFINITY);
  await expectWhole(lab.pool);
});
