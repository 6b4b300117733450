import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { Paths } from "../../lib/host/index.ts";
import type { Vm } from "../../lib/index.ts";
import { eventually } from "../support/eventually.ts";
import { expectRightClock } from "../support/inside.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { activateOne, said } from "../support/vms.ts";

const shell = (vm: Vm, text: string) => said(vm, "sh", "-c", text);

/**
 * A program that holds a secret in its memory alone, tells it when asked, and counts, also to the disk. Beside it, a file whose
 * content is still in the page cache.
 */
const PROGRAM = `
(secret=$(cat /proc/sys/kernel/random/uuid)
trap 'echo $secret > /run/told' USR1
n=0
while :; do n=$((n+1)); echo $n > /run/count; echo $n > /root/count; sleep 0.05; done) > /dev/null 2>&1 < /dev/null &
echo $! > /run/pid
dd if=/dev/urandom of=/dev/shm/pages bs=1M count=8 2> /dev/null
echo before > /root/synced; sync; echo late > /root/unsynced`;

async function tell(vm: Vm): Promise<string> {
  await shell(vm, "rm -f /run/told; kill -USR1 $(cat /run/pid)");
  return eventually(async () => {
    const told = await shell(vm, "cat /run/told");
    expect(told).toMatch(/^[0-9a-f-]{36}$/);
    return told;
  });
}

const count = async (vm: Vm) => Number(await shell(vm, "cat /run/count"));
const contents = (vm: Vm) => shell(vm, "md5sum < /dev/shm/pages; cat /root/synced /root/unsynced");
const dropCaches = (vm: Vm) => shell(vm, "sync; echo 3 > /proc/sys/vm/drop_caches");

async function identityOf(vm: Vm): Promise<string> {
  const text = "hostname; cat /sys/class/net/eth0/address /etc/machine-id; ip -4 -o addr show dev eth0";
  return (await shell(vm, text)).replaceAll(/\s+/g, " ");
}

async function expectItself(vm: Vm): Promise<void> {
  const identity = await identityOf(vm);
  for (const part of [vm.hostname, vm.mac, vm.machineId, `${vm.address}/`]) expect(identity).toContain(part);
  await expectRightClock(vm);
}

test("forks go on from the memory and the disk of one instant, as others; the source goes on as itself", async () => {
  await using lab = await openLab();
  const source = await activateOne(lab.pool, { substrate: "mini", network: { fabric: "mcast" } });
  await shell(source, PROGRAM);
  await eventually(async () => expect(await count(source)).toBeGreaterThan(3));
  const before = { secret: await tell(source), contents: await contents(source), identity: await identityOf(source) };
  const least = await count(source);

  const reports: { pauseMs: number; copiedBytes: number }[] = [];
  lab.pool.events.on("forked", (_, report) => reports.push(report));
  const pid = source.pid;
  const forks = await source.fork(2);
  expect(reports).toHaveLength(1);
  expect(reports[0]?.pauseMs).toBeGreaterThan(0);
  expect(reports[0]?.copiedBytes).toBeGreaterThan(8 * 1024 * 1024);

  const all = [source, ...forks];
  for (const vm of all) {
    await expectItself(vm);
    expect(await tell(vm)).toBe(before.secret);
    expect(await contents(vm)).toBe(before.contents);
    const seen = await count(vm);
    expect(seen).toBeGreaterThanOrEqual(least);
    await eventually(async () => expect(await count(vm)).toBeGreaterThan(seen));
  }
  expect([source.pid, await identityOf(source), source.state]).toEqual([pid, before.identity, "running"]);
  expect(
    new Set(all.flatMap(({ mac, address, machineId, sshHostKey }) => [mac, address, machineId, sshHostKey])).size,
  ).toBe(12);

  // What one writes from now on is its own, also once it is on its disk.
  await Promise.all(all.map((vm) => shell(vm, `echo ${vm.hostname} > /root/own`)));
  for (const vm of all) await dropCaches(vm);
  for (const vm of all)
    expect(await shell(vm, "cat /root/own /root/synced /root/unsynced")).toBe(`${vm.hostname}\nbefore\nlate`);
  // The forks are on the source's network.
  for (const fork of forks)
    await shell(source, `ping -c 1 -W 5 ${fork.address}`).then((text) => expect(text).toContain("1 packets received"));
});

test("a fork outlives its source, can be forked, and everything goes with the last of them", async () => {
  await using lab = await openLab();
  const source = await activateOne(lab.pool, { substrate: "mini" });
  await shell(source, "echo first > /root/a; sync");
  const [fork] = await source.fork(1);
  await shell(source, "echo second > /root/b");
  const [later] = await source.fork(1); // of a source that was forked before
  await source.release();
  if (fork === undefined || later === undefined) throw new Error("no forks");
  const [grandchild] = await fork.fork(1, { run: { argv: ["sh", "-c", "echo third > /root/c"] } });
  await fork.release();
  if (grandchild === undefined) throw new Error("no fork");
  for (const vm of [later, grandchild]) {
    await dropCaches(vm);
    await expectItself(vm);
  }
  expect(await shell(later, "cat /root/a /root/b")).toBe("first\nsecond");
  expect(await shell(grandchild, "ls /root/b 2> /dev/null; cat /root/a /root/c")).toBe("first\nthird");
});

test("what is written while a guest is forked is in all of its memory or in none", async () => {
  await using lab = await openLab();
  const source = await activateOne(lab.pool, { substrate: "mini" });
  // It changes its memory as fast as it can, and notices when a part of it is older than the rest.
  const text = `(while :; do dd if=/dev/urandom of=/dev/shm/new bs=64k count=16; md5sum < /dev/shm/new > /dev/shm/sum
    [ "$(md5sum < /dev/shm/new)" = "$(cat /dev/shm/sum)" ] || echo torn > /dev/shm/torn; done) > /dev/null 2>&1 < /dev/null &`;
  await shell(source, text);
  for (let round = 0; round < 3; round++) {
    const forks = await source.fork(2);
    await delay(2000);
    for (const vm of [source, ...forks])
      expect(await shell(vm, "ls /dev/shm/torn 2> /dev/null; echo whole")).toBe("whole");
    await Promise.all(forks.map((fork) => fork.release()));
  }
});

/** How many instants there are. */
const instants = async () => (await readdir(new Paths(labDirectories()).forks)).length;
const digests = async (vm: Vm) => {
  await dropCaches(vm);
  return shell(vm, "cd /root && md5sum part-*");
};

/** The images that a VM's QEMU has open. */
async function imagesOf({ pid }: Vm): Promise<string[]> {
  const dir = `/proc/${pid}/fd`;
  const targets = await Promise.all((await readdir(dir)).map((fd) => readlink(join(dir, fd)).catch(() => "")));
  return [...new Set(targets.filter((target) => target.endsWith(".qcow2")))];
}

test("one VM is forked again and again: what lies under its disk stays short, and nothing of it is lost", async () => {
  await using lab = await openLab();
  const source = await activateOne(lab.pool, { substrate: "mini" });
  await shell(source, "dd if=/dev/urandom of=/root/part-0 bs=1M count=8 2> /dev/null");
  let kept: { readonly fork: Vm; readonly files: string } | undefined;
  for (let round = 1; round <= 20; round++) {
    // A new file, a part of the first that is written again, and one that is given back to the disk.
    await shell(
      source,
      `cd /root; dd if=/dev/urandom of=part-${round} bs=64k count=4 2> /dev/null
      dd if=/dev/urandom of=part-0 bs=64k seek=${round} count=1 conv=notrunc 2> /dev/null
      [ ${round} -lt 3 ] || rm -f part-$((${round} - 2)); fstrim / 2> /dev/null; sync`,
    );
    const [fork] = await source.fork(1);
    if (fork === undefined) throw new Error("no fork");
    if (round % 5 === 0) expect(await digests(fork)).toBe(await digests(source));
    if (round === 13) kept = { fork, files: await digests(fork) };
    else await fork.release();
  }
  if (kept === undefined) throw new Error("no fork was kept");
  const files = await digests(source);
  await eventually(async () => expect(await instants()).toBeLessThanOrEqual(2), 60_000);
  // Its own overlay and the substrate's disk, and at most two between them.
  for (const vm of [source, kept.fork]) expect((await imagesOf(vm)).length).toBeLessThanOrEqual(4);
  expect(await digests(source)).toBe(files);
  expect(await digests(kept.fork)).toBe(kept.files);
  const [last] = await kept.fork.fork(1);
  if (last === undefined) throw new Error("no fork");
  expect(await digests(last)).toBe(kept.files);
  await expectItself(last);
  expect((await lab.pool.gc()).folders).toEqual([]);
});

test("an owner that is killed while a disk is made flat leaves that to the next one", async () => {
  const script = `
    import { Pool } from ${JSON.stringify(new URL("../../lib/index.ts", import.meta.url).href)};
    const failpoint = (name) => name === "flatten.begun" && process.kill(process.pid, "SIGKILL");
    const pool = await Pool.open(${JSON.stringify(labDirectories())}, { failpoint });
    const [source] = await pool.activate(1, { substrate: "mini" });
    const write = (file) => "dd if=/dev/urandom of=/root/" + file + " bs=1M count=32 2> /dev/null; sync";
    for (const file of ["part-1", "part-2", "part-3"]) {
      await source.exec(["sh", "-c", write(file)]);
      if (file === "part-3") console.log(source.id, (await source.exec(["sh", "-c", "md5sum < /root/part-1"])).stdout);
      const [fork] = await source.fork(1);
      await fork.release();
    }
    setInterval(() => {}, 1000);
  `;
  const owner = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(createInterface({ input: owner.stdout }), "line");
  const [id, digest] = String(line).split(" ");
  await once(owner, "exit");
  expect(owner.signalCode).toBe("SIGKILL");

  await using lab = await openLab();
  const source = lab.pool.vms.find((vm) => vm.id === id);
  if (source === undefined) throw new Error("the source is gone");
  await expectItself(source);
  await eventually(async () => expect(await instants()).toBe(0), 60_000);
  expect(await imagesOf(source)).toHaveLength(2);
  const files = await digests(source);
  expect(files).toContain(digest);
  const [fork] = await source.fork(1);
  if (fork === undefined) throw new Error("no fork");
  expect(await digests(fork)).toBe(files);
});

test("an aborted fork leaves the source running, and nothing else", async () => {
  await using lab = await openLab();
  const source = await activateOne(lab.pool, { substrate: "mini" });
  for (const afterMs of [1, 30, 100, 200, 300, 500]) {
    const forks = await source.fork(1, { signal: AbortSignal.timeout(afterMs) }).catch((error: unknown) => error);
    if (Array.isArray(forks)) await Promise.all(forks.map((fork: Vm) => fork.release()));
    else expect(forks).toMatchObject({ code: "ABORTED" });
    expect((await source.exec(["true"])).exitCode).toBe(0);
    await expectItself(source);
  }
  expect((await lab.pool.gc()).folders).toEqual([]);
});

// Moments of a fork, the source standing still in most of them.
test.each([20, 120, 250, 400, 700])(
  "an owner that is killed %i ms into a fork leaves a source that runs",
  async (afterMs) => {
    const script = `
    import { Pool } from ${JSON.stringify(new URL("../../lib/index.ts", import.meta.url).href)};
    const pool = await Pool.open(${JSON.stringify(labDirectories())});
    const [source] = await pool.activate(1, { substrate: "mini" });
    await source.exec(["sh", "-c", "echo kept > /root/kept"]);
    console.log(source.id);
    await source.fork(2);
    setInterval(() => {}, 1000);
  `;
    const owner = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [id] = await once(createInterface({ input: owner.stdout }), "line");
    await delay(afterMs);
    owner.kill("SIGKILL");
    await once(owner, "exit");

    await using lab = await openLab();
    const source = lab.pool.vms.find((vm) => vm.id === id);
    if (source === undefined) throw new Error("the source is gone");
    await expectItself(source);
    const [fork] = await source.fork(1);
    if (fork === undefined) throw new Error("no fork");
    await dropCaches(fork);
    expect(await shell(fork, "cat /root/kept")).toBe("kept");
    expect(await lab.pool.gc()).toMatchObject({
      processes: [],
      folders: [],
      sharedMemory: [],
      records: [],
      leases: [],
    });
  },
);
