import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../lib/core/index.ts";
import { findProcesses, Paths } from "../../lib/host/index.ts";
import type { Pool, Vm } from "../../lib/index.ts";
import { QmpClient } from "../../lib/qmp/index.ts";
import { eventually } from "../support/eventually.ts";
import { expectRightClock, output, seenInside } from "../support/inside.ts";
import { labDirectories, openLab } from "../support/lab.ts";

const run = promisify(execFile);
const SPEC = { substrate: "mini", network: { fabric: "mcast", subnet: "10.77.0.0/24" } } as const;
const paths = () => new Paths(labDirectories());

async function zygote() {
  return (await findProcesses(paths())).find(({ id }) => id.startsWith("zygote-"));
}

/** A call for so many has a zygote made first. */
async function forked(pool: Pool): Promise<Vm[]> {
  const vms = await pool.activate(4, SPEC);
  for (const vm of vms) expect(await isForked(vm)).toBe(true);
  return vms;
}

/** A fork works in its own folder, others where their owner does. */
async function isForked({ id, pid }: Vm): Promise<boolean> {
  return (await readlink(`/proc/${pid}/cwd`)) === paths().vm(id).dir;
}

async function statusOfThreads(pid: number, field: string): Promise<Set<string>> {
  const values = new Set<string>();
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const status = await readFile(`/proc/${pid}/task/${thread}/status`, "utf8");
    values.add(new RegExp(`^${field}:\\s+(.*)$`, "m").exec(status)?.[1] ?? "");
  }
  return values;
}

/** Event counters are known by their number, which all who share one see. */
async function eventCounters(pid: number): Promise<string[]> {
  const infos = (await readdir(`/proc/${pid}/fdinfo`)).map((fd) => readFile(`/proc/${pid}/fdinfo/${fd}`, "utf8"));
  return (await Promise.all(infos)).flatMap((info) => /^eventfd-id:\s+(\d+)$/m.exec(info)?.[1] ?? []);
}

describe("clones that are forked", () => {
  test("each have an identity of their own, a right clock, and other random numbers", async () => {
    await using lab = await openLab();
    const vms = await forked(lab.pool);
    const inside = await Promise.all(vms.map(seenInside));
    for (const [i, { hostname, address, mac, machineId, sshHostKey: hostKey }] of vms.entries()) {
      expect(inside[i]).toMatchObject({ hostname, hostnameFile: hostname, address, mac, machineId, hostKey });
    }
    for (const part of ["random", "randomSeed", "dbusId"] as const) {
      expect(new Set(inside.map((seen) => seen[part])).size, part).toBe(4);
    }
    for (const vm of vms) await expectRightClock(vm);
  });

  test("are under QEMU's sandbox in every thread, which their zygote is not, and know their own names", async () => {
    await using lab = await openLab();
    const vms = await forked(lab.pool);
    for (const { pid } of vms) {
      expect(await statusOfThreads(pid, "Seccomp")).toEqual(new Set(["2"]));
      expect(await statusOfThreads(pid, "NoNewPrivs")).toEqual(new Set(["1"]));
    }
    const { pid = 0 } = (await zygote()) ?? {};
    expect(await statusOfThreads(pid, "Seccomp")).toEqual(new Set(["0"]));
    const [vm] = vms;
    await lab.pool.close({ vms: "keep" }); // a monitor has one client
    await using qmp = await QmpClient.connect(paths().vm(vm?.id ?? "").qmp, { timeoutMs: 5000, logger: silentLogger });
    expect(await qmp.execute("query-name")).toEqual({ name: `vm-substrate-${vm?.id}` });
    await qmp[Symbol.asyncDispose]();
    await using next = await openLab();
    expect(next.pool.vms).toHaveLength(4);
    expect(await output(next.pool.vms[0] as Vm, "hostname")).toBe(next.pool.vms[0]?.hostname);
    expect(await zygote()).toBeUndefined();
  });

  test("share nothing that they write: memory, disk, descriptors", async () => {
    await using lab = await openLab();
    const vms = await forked(lab.pool);
    const { id = "", pid = 0 } = (await zygote()) ?? {};
    const digest = async () =>
      createHash("sha256")
        .update(await readFile(paths().vm(id).overlay))
        .digest("hex");
    const before = await digest();
    const write = (name: string) => `for d in /tmp /root; do yes ${name} | head -n 100000 > $d/data; done; sync`;
    await Promise.all(vms.map((vm) => output(vm, "sh", "-c", write(vm.hostname))));
    for (const vm of vms) {
      const others = `echo 3 > /proc/sys/vm/drop_caches; cat /tmp/data /root/data | grep -vcx ${vm.hostname} || true`;
      expect(await output(vm, "sh", "-c", others)).toBe("0");
    }
    expect(await digest()).toBe(before);
    const counters = await Promise.all([pid, ...vms.map((vm) => vm.pid)].map(eventCounters));
    expect(new Set(counters.flat()).size).toBe(counters.flat().length);
    expect(counters.flat().length).toBeGreaterThan(4);
  });

  test("draw other numbers from the processor's generator", async () => {
    const dir = await mkdtemp(join(tmpdir(), "rdrand-"));
    const program = join(dir, "rdrand");
    const source = fileURLToPath(new URL("../support/rdrand.c", import.meta.url));
    await run("musl-gcc", ["-static", "-o", program, source]);
    const content = await readFile(program);
    await rm(dir, { recursive: true });
    await using lab = await openLab();
    const vms = await forked(lab.pool);
    for (const vm of vms) await vm.writeFile("/tmp/rdrand", content);
    const drawn = await Promise.all(vms.map((vm) => output(vm, "sh", "-c", "chmod +x /tmp/rdrand && /tmp/rdrand")));
    const numbers = drawn.flatMap((lines) => lines.split("\n"));
    expect(numbers).toHaveLength(4 * 8);
    expect(new Set(numbers).size).toBe(4 * 8);
  });

  test("take a fraction of the memory of those that loaded their substrate", async () => {
    await using lab = await openLab();
    const [vm] = await forked(lab.pool);
    const forkedBytes = (await vm?.memory())?.privateBytes ?? Number.NaN;
    await lab.pool.close();
    await using loading = await openLab({ zygotes: false });
    const [other] = await loading.pool.activate(4, SPEC);
    expect(await isForked(other as Vm)).toBe(false);
    expect(await zygote()).toBeUndefined();
    expect(forkedBytes).toBeLessThan(((await other?.memory())?.privateBytes ?? 0) / 2);
  });

  test("go on when their zygote is killed; the next clones load, and are forked again later", async () => {
    await using lab = await openLab();
    const [vm] = await forked(lab.pool);
    const { pid = 0 } = (await zygote()) ?? {};
    process.kill(pid, "SIGKILL");
    expect(await output(vm as Vm, "hostname")).toBe(vm?.hostname);
    await eventually(async () => expect(await zygote()).toBeUndefined());
    const [loaded] = await lab.pool.activate(1, SPEC);
    expect(await output(loaded as Vm, "hostname")).toBe(loaded?.hostname);
    await forked(lab.pool);
    expect((await zygote())?.pid).not.toBe(pid);
  });

  test("are parked, resumed and frozen as others are", async () => {
    await using lab = await openLab();
    const [vm] = await forked(lab.pool);
    if (vm === undefined) throw new Error("no VM");
    await output(vm, "sh", "-c", "echo kept > /root/kept; sync");
    await vm.park();
    await delay(500);
    await vm.resume();
    await expectRightClock(vm);
    const substrate = await vm.freeze({ name: "of-a-fork" });
    expect(substrate.name).toBe("of-a-fork");
    const copies = await lab.pool.activate(4, { ...SPEC, substrate: "of-a-fork" });
    for (const copy of copies) expect(await output(copy, "cat", "/root/kept")).toBe("kept");
    await Promise.all([vm, ...copies].map((one) => one.release()));
    await lab.pool.removeSubstrate("of-a-fork");
  });

  test("are what a dock has, and a zygote ends with its substrate", async () => {
    await using lab = await openLab();
    await lab.pool.dock("mini", { min: 4, max: 4, primed: false });
    await lab.pool.docked("mini", { count: 4 });
    const vms = await lab.pool.activate(4, SPEC);
    for (const vm of vms) expect([vm.origin, await isForked(vm)]).toEqual(["docked", true]);
    expect(await lab.pool.gc()).toMatchObject({ processes: [], folders: [] });
    const found = await zygote();
    expect(await readdir(join(paths().vms))).toContain(found?.id);
  });
});
