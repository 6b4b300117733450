import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ActivateSpec } from "../../lib/pool/index.ts";
import { eventually } from "../support/eventually.ts";
import { FakeHost, openFakePool } from "../support/fake-host.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { IoFaults } from "../support/io-faults.ts";
import { expectNothingLeft, NOTHING_COLLECTED } from "../support/nothing-left.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";
import { activateOne, announced, said } from "../support/vms.ts";

const SPEC: ActivateSpec = { substrate: "fake" };
const OPEN_FILES = 128;
/** Nobody's. */
const OTHER_USER = 64_999;
const AS_OTHER = [`--reuid=${OTHER_USER}`, `--regid=${OTHER_USER}`, "--clear-groups"];
const run = promisify(execFile);

function wordsOf(owner: PoolOwner, word: string): string[] {
  return owner.said.flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []));
}

async function hostWithSubstrate(): Promise<FakeHost> {
  const host = await FakeHost.create();
  await addFakeSubstrate(host.paths);
  return host;
}

function giveTo(user: number, { directories }: FakeHost): Promise<unknown> {
  return run("chown", ["-R", `${user}:${user}`, dirname(directories.stateDir), directories.sharedMemoryDir]);
}

/** The soft limit: to change it needs no capability, which a machine that is a VM itself may not have, but the same user. */
async function limitProcesses({ process: { pid } }: PoolOwner, most: number): Promise<void> {
  await run("setpriv", [...AS_OTHER, "prlimit", "--pid", String(pid), `--nproc=${most}:`]);
}

describe("a process that may open few files", () => {
  it("refuses VMs before it runs out of them, and those that it has are unaffected", { timeout: 30_000 }, async () => {
    await using host = await hostWithSubstrate();
    const options = host.options({ parallelStarts: 4 });
    const argv = ["/bin/sh", "-c", `ulimit -n ${OPEN_FILES}; exec "$@"`, "sh"];
    const ids: string[] = [];
    {
      await using owner = PoolOwner.begin({ options, does: "descriptors" }, { argv });
      await eventually(() => expect(owner.said.at(-1)).toBe("ready"));
      expect(new Set(wordsOf(owner, "refused"))).toEqual(new Set(["INSUFFICIENT_DESCRIPTORS"]));
      ids.push(...wordsOf(owner, "handed"));
      expect(ids.length).toBeGreaterThan(4);
      const answers = wordsOf(owner, "answers").map((line) => line.split(" ")[1]);
      expect(answers.toSorted()).toEqual(ids.map((_, i) => `fake-${i}`).toSorted());
      expect(wordsOf(owner, "again")).toEqual(["made"]);
    }
    await using pool = await host.open();
    expect(pool.vms).toHaveLength(ids.length - 4 + 1);
    expect(await pool.gc()).toEqual(NOTHING_COLLECTED);
  });
});

describe("more processes than the owner's user may have", () => {
  it("are refused by name, nothing is left of them, and running VMs run on", async () => {
    await using host = await hostWithSubstrate();
    // Root may have any number. Another user may not, who for the rest can do with these files what root can.
    await giveTo(OTHER_USER, host);
    const capabilities = "+dac_override,+dac_read_search,+fowner";
    const argv = ["setpriv", ...AS_OTHER, `--inh-caps=${capabilities}`, `--ambient-caps=${capabilities}`];
    await using owner = PoolOwner.begin({ options: host.options(), does: "processes" }, { argv });
    await eventually(() => expect(owner.said.join()).toContain("begun"));
    await limitProcesses(owner, 1);
    await eventually(() => expect(wordsOf(owner, "refused")).toEqual(["HOST_IO_FAILED"]));
    await eventually(() => expect(wordsOf(owner, "answers").map((line) => line.split(" ")[1])).toEqual(["fake-0"]));
    await limitProcesses(owner, 1000);
    await eventually(() => expect(owner.said.at(-1)).toBe("ready"));
    expect(wordsOf(owner, "again")).toEqual(["made"]);
    expect(JSON.parse(wordsOf(owner, "collected")[0] ?? "")).toEqual(NOTHING_COLLECTED);
    expect(wordsOf(owner, "left")).toEqual(["fake-0"]);
  });
});

describe("a store that cannot be written any more", () => {
  let dir: string;
  let faults: IoFaults;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "io-faults-"));
    faults = await IoFaults.compile(dir);
  });
  afterAll(() => rm(dir, { recursive: true }));

  it.each(["enospc", "eio"])("(%s) refuses new VMs, leaves nothing of them, and running ones run on", async (kind) => {
    await using host = await hostWithSubstrate();
    const env = { LD_PRELOAD: faults.library, IO_FAULTS_KIND: kind, IO_FAULTS_AT: "0" };
    let left = "";
    {
      await using owner = PoolOwner.begin({ options: host.options(), does: "disk" }, { env });
      await eventually(() => expect(owner.said.at(-1)).toBe("ready"));
      expect(wordsOf(owner, "activate")).toEqual(["STORE_UNWRITABLE", "STORE_UNWRITABLE"]);
      expect(wordsOf(owner, "park")).toEqual(["STORE_UNWRITABLE"]);
      expect(wordsOf(owner, "extend")).toEqual(["STORE_UNWRITABLE"]);
      expect(wordsOf(owner, "again")).toEqual(["true"]);
      expect(wordsOf(owner, "answers").map((line) => line.split(" ")[1])).toEqual(["fake-0", "fake-1"]);
      expect(wordsOf(owner, "release")).toEqual(["STORE_UNWRITABLE"]); // it ended all the same
      [left = ""] = wordsOf(owner, "left");
      expect(wordsOf(owner, "handed")[0]).toBe(left);
      expect(host.qemu.vms).toHaveLength(2); // none was started for what could not be recorded
    }
    await using pool = await host.open();
    expect(pool.vms.map(({ id, state }) => `${id} ${state}`)).toEqual([`${left} running`]);
    expect(await pool.gc()).toEqual(NOTHING_COLLECTED);
    expect(await activateOne(pool, { ...SPEC, idempotencyKey: "after" })).toMatchObject({ hostname: "fake-1" });
  });
});

describe("a QEMU that cannot be started any more", () => {
  it("fails calls, leaves nothing of them, and running VMs run on", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await chmod(fake.qemu.path, 0o644);
    await expect(fake.pool.activate(3, SPEC)).rejects.toMatchObject({ code: "QEMU_MISSING" });
    expect(await fake.pool.gc()).toEqual(NOTHING_COLLECTED);
    expect(await said(vm, "hostname")).toBe("fake-0");
    await chmod(fake.qemu.path, 0o755);
    expect(await activateOne(fake.pool)).toMatchObject({ hostname: "fake-1" });
  });
});

describe("a VM whose memory's file system is full", () => {
  it("ends by itself alone, and says by which signal", async () => {
    await using fake = await openFakePool();
    const [victim, other] = await fake.pool.activate(2, SPEC);
    const seen = announced(fake.pool);
    const causes: unknown[] = [];
    victim?.events.on("exit", (cause) => void causes.push(cause));
    process.kill(victim?.pid ?? 0, "SIGBUS"); // what the kernel sends
    await eventually(() => expect(seen).toEqual(["exit fake-0"]));
    expect(causes).toEqual([{ code: null, signal: "SIGBUS" }]);
    await victim?.release();
    expect((await other?.exec(["hostname"]))?.stdout).toBe("fake-1\n");
    await fake.pool.close();
    await expectNothingLeft(fake.host.paths);
  });
});

describe("a folder that cannot be made", () => {
  it.each(["activate", "activateSettled"] as const)("is an error with its errno, by %s", async (call) => {
    await using fake = await openFakePool();
    const parent = fake.host.paths.vms;
    await rm(parent, { recursive: true, force: true });
    await writeFile(parent, "");
    const error = { code: "HOST_IO_FAILED", details: { errno: "ENOTDIR" } };
    if (call === "activate") await expect(fake.pool.activate(1, SPEC)).rejects.toMatchObject(error);
    else expect(await fake.pool.activateSettled(1, SPEC)).toMatchObject([{ error }]);
    await rm(parent);
    await mkdir(parent, { mode: 0o700 });
    expect(await fake.pool.gc()).toEqual(NOTHING_COLLECTED);
    await activateOne(fake.pool);
  });
});
