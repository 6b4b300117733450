import { readdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import type { Vm } from "../../lib/clone/index.ts";
import type { Pool } from "../../lib/pool/index.ts";
import { FakeHost } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { expectNothingLeft, leftovers, NOTHING_COLLECTED } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";
import { seeded } from "../support/random.ts";

/** How many VMs are handed out in all, by owners that are killed. */
const ACTIVATIONS = 500;
/** After how many lines of what it does an owner is killed, and up to how much later. */
const MOST_LINES = 40;
const MOST_DELAY_MS = 30;
const SEED = Math.floor(Math.random() * 2 ** 31);
const TIMEOUT_MS = 600_000;

/** Owns the pool until it is killed. @returns what it had handed out, and what it had begun to release */
async function ownAndDie(host: FakeHost, random: () => number) {
  const lines = 1 + Math.floor(random() * MOST_LINES);
  await using owner = PoolOwner.begin({
    options: host.options(),
    does: { churn: Math.floor(random() * 2 ** 31) },
  });
  await owner.hasSaid(lines);
  await delay(random() * MOST_DELAY_MS);
  expect(owner.process.exitCode, `it ended by itself: ${owner.said.at(-1)}`).toBeNull();
  owner.process.kill("SIGKILL");
  await owner.ended();
  const idsOf = (word: string) =>
    owner.said.flatMap((line) => (line.startsWith(word) ? [line.split(" ")[1] ?? ""] : []));
  return { handed: idsOf("handed "), released: new Set(idsOf("releasing ")) };
}

/** Everything that there is belongs to a VM, and every VM is itself. */
async function expectWhole(pool: Pool, host: FakeHost): Promise<void> {
  expect(await pool.gc()).toEqual(NOTHING_COLLECTED);
  for (const part of ["id", "hostname", "address", "mac", "machineId", "pid"] as const) {
    expect(new Set(pool.vms.map((vm) => vm[part])).size, part).toBe(pool.vms.length);
  }
  for (const vm of pool.vms) {
    if (vm.state === "parked") await vm.resume();
    expect(vm.state).toBe("running");
    expect((await vm.exec(["hostname"])).stdout).toBe(`${vm.hostname}\n`);
  }
  const ids = pool.vms.map(({ id }) => id).toSorted();
  const left = await leftovers(host.paths);
  expect(left).toMatchObject({ vms: ids, runtime: ids, sharedMemory: ["fake-1.ram"], staging: [] });
  expect(left.processes).toHaveLength(ids.length);
}

it(`owners that are killed leave all that they handed out, and nothing else (seed ${SEED})`, {
  timeout: TIMEOUT_MS,
}, async () => {
  await using host = await FakeHost.create();
  await addFakeSubstrate(host.paths);
  const random = seeded(SEED);
  let handedOut = 0;
  let descriptors = 0;
  let known: readonly Vm[] = [];
  for (let round = 1; handedOut < ACTIVATIONS; round++) {
    try {
      const { handed, released } = await ownAndDie(host, random);
      handedOut += handed.length;
      await using pool = await host.open();
      const expected = [...known.map(({ id }) => id), ...handed].filter((id) => !released.has(id));
      const ids = pool.vms.map(({ id }) => id);
      expect(ids).toEqual(expect.arrayContaining(expected));
      await expectWhole(pool, host);
      await Promise.all(pool.vms.filter(() => random() < 0.5).map((vm) => vm.release()));
      await expectWhole(pool, host);
      known = pool.vms;
      await pool.close({ vms: "keep" });
    } catch (error) {
      throw new Error(`seed ${SEED}, round ${round}, after ${handedOut} activations`, { cause: error });
    }
    if (round === 1) descriptors = (await readdir("/proc/self/fd")).length;
  }
  await using pool = await host.open();
  await Promise.all(pool.vms.map((vm) => vm.release()));
  await expectNothingLeft(host.paths, { open: true });
  const names = (await pool.activate(2, { substrate: "fake" })).map(
    ({ hostname, address }) => `${hostname} ${address}`,
  );
  expect(names).toEqual(["fake-0 10.77.0.1", "fake-1 10.77.0.2"]); // every lease was given back
  await pool.close();
  await expectNothingLeft(host.paths);
  // One for the control of each VM that lived after the first round; none more.
  expect((await readdir("/proc/self/fd")).length).toBeLessThanOrEqual(descriptors);
});
