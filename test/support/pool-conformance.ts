import { randomUUID } from "node:crypto";
import { describe, expect, it, onTestFinished } from "vitest";
import type { PoolHandle, VmHandle } from "../../client/index.ts";
import type { ActivateSpec } from "../../lib/index.ts";
import { NOTHING_COLLECTED } from "./nothing-left.ts";

/** A pool with a substrate of a small guest, which belongs to one test alone. */
export interface PoolTarget extends AsyncDisposable {
  readonly pool: PoolHandle;
  readonly substrate: string;
  /** A program of the guest that shows "ROWS COLUMNS" of its terminal after that has changed. */
  readonly showsSize: readonly string[];
  /** Ends a VM's process as nobody asked for. */
  readonly kill: (vm: VmHandle) => void;
  /** Fails when anything is left of VMs that have ended. */
  readonly expectNothingLeft: () => Promise<void>;
}

/** Three blocks of 128 MiB more than the substrates have, of which two can be taken away again. */
const GROWN_MIB = 385;

/** What every pool does, of this process or of a daemon. */
export function itBehavesAsPool(name: string, open: () => Promise<PoolTarget>): void {
  const start = async () => {
    const target = await open();
    onTestFinished(() => target[Symbol.asyncDispose]());
    const { pool, substrate } = target;
    const activate = async (count: number, spec: Partial<ActivateSpec> = {}) =>
      pool.activate(count, { substrate, ...spec });
    const activateOne = async (spec: Partial<ActivateSpec> = {}) => first(await activate(1, spec));
    return { ...target, activate, activateOne };
  };

  describe(`${name}: activate`, () => {
    it("gives VMs that differ in all that must, and are listed", async () => {
      const { pool, activate } = await start();
      const vms = await activate(2, { labels: { match: "17" } });
      for (const part of ["id", "hostname", "address", "mac", "machineId", "sshHostKey", "pid"] as const) {
        expect(new Set(vms.map((vm) => vm[part])).size, part).toBe(2);
      }
      expect(pool.vms).toHaveLength(2);
      expect(pool.vms.every((vm) => vms.includes(vm))).toBe(true);
      for (const vm of vms) {
        expect(vm).toMatchObject({ state: "running", origin: "cloned", labels: { match: "17" }, expiresAt: undefined });
        expect((await vm.exec(["hostname"])).stdout).toBe(`${vm.hostname}\n`);
        expect(vm.timings.totalMs).toBeGreaterThan(0);
        expect(vm.createdAt.getTime()).toBeLessThanOrEqual(Date.now());
      }
    });

    it("says what is wrong by the same codes", async () => {
      const { pool, activate } = await start();
      await expect(activate(0)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expect(activate(1, { hostname: "no spaces" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expect(activate(1, { typo: 1 } as object)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expect(activate(1, { substrate: "nothing" })).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
      await expect(activate(1, { run: { argv: ["false"] } })).rejects.toMatchObject({ code: "RUN_FAILED" });
      expect(pool.vms).toEqual([]);
    });

    it("is all or none, unless it is settled", async () => {
      const { pool, substrate, activate, activateOne } = await start();
      const taken = await activateOne({ hostname: "taken" });
      const spec = { substrate, hostname: ["one", "taken"] };
      await expect(activate(2, spec)).rejects.toMatchObject({ code: "LEASE_CONFLICT" });
      expect(pool.vms).toEqual([taken]);
      const failing = await pool.activateSettled(2, { substrate, run: { argv: ["false"] } });
      expect(failing.map((one) => "error" in one && one.error.code)).toEqual(["RUN_FAILED", "RUN_FAILED"]);
    });

    it("makes nothing twice for one idempotency key", async () => {
      const { pool, activate } = await start();
      const spec = { idempotencyKey: `match-${randomUUID()}` };
      const [[made], [again]] = await Promise.all([activate(1, spec), activate(1, spec)]);
      const [later] = await activate(1, spec);
      expect([again?.id, later?.id]).toEqual([made?.id, made?.id]);
      expect(pool.vms).toHaveLength(1);
      await expect(activate(2, spec)).rejects.toMatchObject({ code: "IDEMPOTENCY_KEY_USED" });
    });

    it("ends when it is aborted, and leaves nothing", async () => {
      const { pool, substrate, expectNothingLeft } = await start();
      const aborting = new AbortController();
      const call = pool.activate(2, { substrate, run: { argv: ["sleep", "100"] } }, { signal: aborting.signal });
      setTimeout(() => aborting.abort(), 300);
      await expect(call).rejects.toMatchObject({ code: "ABORTED" });
      await expect(pool.activate(1, { substrate }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
        code: "ABORTED",
      });
      expect(pool.vms).toEqual([]);
      await expectNothingLeft();
    });

    it("gives files, bytes as they are, and an environment", async () => {
      const { activateOne } = await start();
      const content = Uint8Array.from({ length: 256 }, (_, i) => i);
      const files = [
        { path: "/etc/bytes", content, mode: 0o600 },
        { path: "/etc/text", content: "wört" },
      ];
      const vm = await activateOne({ files, env: { MODE: "test" } });
      expect(Buffer.from(await vm.readFile("/etc/bytes"))).toEqual(Buffer.from(content));
      expect(Buffer.from(await vm.readFile("/etc/text")).toString()).toBe("wört");
      expect((await vm.exec(["env"])).stdout).toContain("MODE=test");
    });
  });

  describe(`${name}: a VM`, () => {
    it("runs programs: input, output, status", async () => {
      const { activateOne } = await start();
      const vm = await activateOne();
      expect(await vm.exec(["cat"], { stdin: "héllo" })).toMatchObject({ exitCode: 0, stdout: "héllo", signal: null });
      expect(await vm.exec(["false"])).toMatchObject({ exitCode: 1, stdout: "", truncated: false });
      await expect(vm.exec([])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expect(vm.exec(["no-such-program"])).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
      await expect(vm.exec(["sleep", "100"], { timeoutMs: 200 })).rejects.toMatchObject({ code: "GUEST_EXEC_TIMEOUT" });
      await expect(vm.exec(["sleep", "100"], { signal: AbortSignal.timeout(200) })).rejects.toMatchObject({
        code: "ABORTED",
      });
    });

    it("reads and writes files", async () => {
      const { activateOne } = await start();
      const vm = await activateOne();
      const content = Buffer.alloc(100_000, "0123456789");
      await vm.writeFile("/tmp/file", content);
      expect(Buffer.from(await vm.readFile("/tmp/file")).equals(content)).toBe(true);
      await vm.writeFile("/tmp/file", "");
      expect(await vm.readFile("/tmp/file")).toHaveLength(0);
      await expect(vm.readFile("/nowhere")).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
    });

    it("is parked, resumed and extended, and says so", async () => {
      const { pool, activateOne } = await start();
      const vm = await activateOne();
      const heard: string[] = [];
      for (const type of ["parked", "resumed"] as const) vm.events.on(type, () => heard.push(type));
      for (const type of ["parked", "resumed", "extended"] as const) {
        pool.events.on(type, ({ id }) => heard.push(`pool ${type} ${id === vm.id}`));
      }
      await vm.park();
      expect(vm.state).toBe("parked");
      await expect(vm.exec(["true"])).rejects.toMatchObject({ code: "VM_PARKED" });
      await vm.park();
      await vm.resume();
      expect(vm.state).toBe("running");
      const before = Date.now();
      const at = await vm.extend(60_000);
      expect(at.getTime()).toBeGreaterThanOrEqual(before + 60_000);
      // It is kept by a clock that nobody sets, and shown by the one that somebody may.
      expect(Math.abs((vm.expiresAt?.getTime() ?? 0) - at.getTime())).toBeLessThan(1000);
      await expect(vm.extend(0)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expect
        .poll(() => heard.toSorted())
        .toEqual(["parked", "pool extended true", "pool parked true", "pool resumed true", "resumed"]);
    });

    it("gives memory back that it was given, and says so", async () => {
      const { pool, activateOne } = await start();
      const vm = await activateOne({ resources: { memoryMiB: GROWN_MIB } });
      const before = vm.resources;
      const heard: string[] = [];
      vm.events.on("shrunk", () => heard.push("vm"));
      pool.events.on("shrunk", ({ id, resources }) => heard.push(`pool ${id === vm.id} ${resources.memoryMiB}`));
      const after = await vm.shrink({ memoryMiB: 1 });
      expect(after.memoryMiB).toBeLessThan(before.memoryMiB);
      expect(after).toEqual({ ...before, memoryMiB: after.memoryMiB });
      expect(vm.resources).toEqual(after);
      expect(await vm.shrink({ memoryMiB: 1 })).toEqual(after);
      await expect.poll(() => heard.toSorted()).toContain(`pool true ${after.memoryMiB}`);
      expect(heard).toContain("vm");
      await expect(vm.shrink({ memoryMiB: 0 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    });

    it("is released once, and then gone", async () => {
      const { pool, activateOne, expectNothingLeft } = await start();
      const vm = await activateOne();
      const heard: string[] = [];
      vm.events.on("released", () => heard.push("vm"));
      pool.events.on("released", ({ id }) => heard.push(id));
      await Promise.all([vm.release(), vm.release()]);
      await vm.release();
      expect(vm.state).toBe("released");
      expect(pool.vms).toEqual([]);
      await expect(vm.exec(["true"])).rejects.toMatchObject({ code: "VM_GONE" });
      await expect(vm.park()).rejects.toMatchObject({ code: "VM_GONE" });
      await expect.poll(() => heard.toSorted()).toEqual([vm.id, "vm"].toSorted());
      await expectNothingLeft();
    });

    it("says when its process ends by itself", async () => {
      const { pool, activateOne, kill } = await start();
      const vm = await activateOne();
      const ended = new Promise((resolve) => vm.events.once("exit", resolve));
      const told = new Promise((resolve) => pool.events.once("exit", (one) => resolve(one)));
      kill(vm);
      expect(await ended).toMatchObject({ signal: "SIGKILL" });
      expect(await told).toBe(vm);
      expect(vm.state).toBe("failed");
      expect(pool.vms).toEqual([]);
      await expect(vm.exec(["true"])).rejects.toMatchObject({ code: "VM_GONE" });
      await vm.release();
    });

    it("runs a program with its streams", async () => {
      const { activateOne } = await start();
      const vm = await activateOne({ env: { MODE: "test" } });
      const content = Buffer.alloc(100_000, "0123456789");
      const cat = await vm.session(["cat"]);
      cat.stdin.end(content);
      const [echoed, exit] = await Promise.all([cat.stdout.toArray(), cat.exited]);
      expect(Buffer.concat(echoed).equals(content)).toBe(true);
      expect(exit).toEqual({ exitCode: 0, signal: null });
      const env = await vm.session(["env"]);
      expect(Buffer.concat(await env.stdout.toArray()).toString()).toContain("MODE=test");
      expect(await env.stderr.toArray()).toEqual([]);
    });

    it("ends a program by a signal, when it is told to, and when it is given up", async () => {
      const { activateOne, expectNothingLeft } = await start();
      const vm = await activateOne();
      const killed = await vm.session(["cat"]);
      killed.kill("SIGTERM");
      expect(await killed.exited).toEqual({ exitCode: null, signal: 15 });
      const disposed = await vm.session(["cat"]);
      await disposed[Symbol.asyncDispose]();
      expect(await disposed.exited).toEqual({ exitCode: null, signal: 1 });
      const aborting = new AbortController();
      const aborted = await vm.session(["cat"], { signal: aborting.signal });
      aborting.abort();
      await expect(aborted.exited).rejects.toMatchObject({ code: "ABORTED" });
      const left = await vm.session(["cat"]);
      await vm.release();
      await expect(left.exited).rejects.toMatchObject({ code: "VM_GONE" });
      await expectNothingLeft();
    });

    it("has terminals, and says what it cannot run", async () => {
      const { activateOne, showsSize } = await start();
      const vm = await activateOne();
      const session = await vm.session(showsSize, { tty: { columns: 80, rows: 24 } });
      session.resize({ columns: 132, rows: 50 });
      let shown = "";
      for await (const chunk of session.stdout.iterator({ destroyOnReturn: false })) {
        shown += String(chunk);
        if (/^50 132\r?\n/m.test(shown)) break;
      }
      expect(shown).toMatch(/^50 132\r?\n/m);
      await session[Symbol.asyncDispose]();
      const plain = await vm.session(["cat"]);
      expect(() => plain.resize({ columns: 1, rows: 1 })).toThrow("terminal");
      expect(() => plain.kill(1000)).toThrow("there is no signal");
      await plain[Symbol.asyncDispose]();
      await expect(vm.session(["nope"])).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
      await expect(vm.session([])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expect(vm.session(["cat"], { typo: 1 } as object)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await vm.park();
      await expect(vm.session(["cat"])).rejects.toMatchObject({ code: "VM_PARKED" });
    });

    it("is forked", async () => {
      const { pool, activateOne } = await start();
      const vm = await activateOne();
      const [fork] = await vm.fork(1, { labels: { of: "one" } });
      expect(fork).toMatchObject({ origin: "forked", labels: { of: "one" }, state: "running" });
      expect(fork?.id).not.toBe(vm.id);
      expect(pool.vms).toHaveLength(2);
      await expect(vm.fork(0)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    });

    it("tells its memory and its console", async () => {
      const { activateOne } = await start();
      const vm = await activateOne();
      const { pssBytes, privateBytes } = await vm.memory();
      expect(pssBytes).toBeGreaterThan(0);
      expect(privateBytes).toBeGreaterThan(0);
      expect(typeof (await vm.console())).toBe("string");
    });
  });

  describe(`${name}: a dock`, () => {
    it("is filled, claimed from, and taken away", async () => {
      const { pool, substrate, activateOne, expectNothingLeft } = await start();
      expect(await pool.dock(substrate, { min: 2 })).toMatchObject({ substrate, min: 2, target: 2 });
      expect(await pool.docked(substrate, { count: 2 })).toMatchObject({ ready: 2 });
      const vm = await activateOne();
      expect(vm.origin).toBe("docked");
      await expect.poll(() => pool.docks.map(({ ready, target }) => [ready, target])).toEqual([[2, 2]]);
      expect(await pool.undock(substrate)).toBe(true);
      expect(await pool.undock(substrate)).toBe(false);
      expect(pool.docks).toEqual([]);
      await vm.release();
      await expectNothingLeft();
    });

    it("refuses what it cannot do", async () => {
      const { pool, substrate } = await start();
      await expect(pool.dock("nothing", { min: 1 })).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
      await expect(pool.dock(substrate, { min: -1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expect(pool.docked(substrate, { count: 1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    });
  });

  describe(`${name}: the pool`, () => {
    it("lists its substrates and what clones take", async () => {
      const { pool, substrate, activateOne } = await start();
      expect((await pool.substrates()).map((one) => one.name)).toContain(substrate);
      await activateOne();
      await expect.poll(() => pool.memory, { timeout: 5000 }).toMatchObject({ clones: 1, budgetBytes: undefined });
    });

    it("keeps a substrate that is in use", async () => {
      const { pool, substrate, activateOne } = await start();
      await activateOne();
      await expect(pool.removeSubstrate(substrate)).rejects.toMatchObject({ code: "SUBSTRATE_IN_USE" });
      await expect(pool.removeSubstrate("nothing")).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
      expect(await pool.pruneSubstrates({ keep: 1 })).toEqual({ removed: [], inUse: [] });
    });

    it("refuses a recipe that it does not know, and finds nothing to take away", async () => {
      const { pool } = await start();
      await expect(pool.build({ recipe: "nothing" })).rejects.toMatchObject({ code: "RECIPE_UNKNOWN" });
      expect(await pool.gc()).toEqual(NOTHING_COLLECTED);
      expect(await pool.gc({ cacheUnusedForMs: 86_400_000, cacheMaxMiB: 1_048_576 })).toEqual(NOTHING_COLLECTED);
      for (const options of [{ cacheUnusedForMs: -1 }, { cacheMaxMiB: 0.5 }]) {
        await expect(pool.gc(options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      }
    });

    it("tells of VMs and of calls that failed", async () => {
      const { pool, substrate, activateOne } = await start();
      const heard: unknown[] = [];
      pool.events.on("activated", ({ id }) => heard.push(id));
      pool.events.on("failed", (call) => heard.push([call.what, call.count, "code" in call.error && call.error.code]));
      const { id } = await activateOne();
      await expect(pool.activate(2, { substrate, run: { argv: ["false"] } })).rejects.toMatchObject({
        code: "RUN_FAILED",
      });
      await expect.poll(() => heard).toEqual([id, ["activate", 2, "RUN_FAILED"]]);
    });

    it("takes no calls when it is closed", async () => {
      const { pool, substrate } = await start();
      await pool.close();
      await pool.close();
      await expect(pool.activate(1, { substrate })).rejects.toMatchObject({ code: "POOL_CLOSED" });
      await expect(pool.substrates()).rejects.toMatchObject({ code: "POOL_CLOSED" });
    });
  });
}

function first<T>([one]: readonly T[]): T {
  if (one === undefined) throw new Error("none");
  return one;
}
