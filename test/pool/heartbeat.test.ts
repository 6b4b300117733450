import { afterEach, describe, expect, it, vi } from "vitest";
import type { Vm } from "../../lib/clone/index.ts";
import { Health } from "../../lib/pool/health.ts";
import { eventually } from "../support/eventually.ts";
import { openFakePool } from "../support/fake-host.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, announced, fakeOf, said } from "../support/vms.ts";

const BEAT = { heartbeatMs: 20 };
/** What a VM is given for each sign of life. */
const DEADLINE_MS = 5000;

afterEach(() => {
  vi.useRealTimers();
});

describe("a VM whose QEMU is stopped", () => {
  it("is unresponsive, and says so once; others are asked as before", async () => {
    await using fake = await openFakePool();
    const [stopped, other] = await fake.pool.activate(2, { substrate: "fake" });
    if (!stopped || !other) throw new Error("no VMs");
    const seen = announced(fake.pool);
    process.kill(stopped.pid, "SIGSTOP");
    await Promise.all([stopped.heartbeat(100), other.heartbeat(1000)]);
    await stopped.heartbeat(100);
    expect(stopped.state).toBe("unresponsive");
    expect(other.state).toBe("running");
    expect(await said(other, "hostname")).toBe("fake-1");
    expect(await activateOne(fake.pool)).toMatchObject({ hostname: "fake-2" });
    expect(seen).toEqual(["unresponsive fake-0", "activated fake-2"]);
    process.kill(stopped.pid, "SIGCONT");
    await eventually(async () => {
      await stopped.heartbeat(1000);
      expect(stopped.state).toBe("running");
    });
    await stopped.heartbeat(1000);
    expect(seen.slice(2)).toEqual(["responsive fake-0"]);
    expect(await said(stopped, "hostname")).toBe("fake-0");
  });

  it("is released by SIGKILL, and leaves nothing", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    process.kill(vm.pid, "SIGSTOP");
    await vm.heartbeat(50);
    await vm.release();
    await expectNothingLeft(fake.host.paths, { open: true });
  });

  it("is found by the pool itself, round after round", async () => {
    await using fake = await openFakePool(BEAT);
    const vm = await activateOne(fake.pool);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const seen = announced(fake.pool);
    const pinged = () => fakeOf(fake, vm).steps.filter((step) => step === "agent").length;
    const rounds = async (ms: number, until: () => void) => {
      await eventually(() => {
        vi.advanceTimersByTime(ms);
        until();
      });
    };
    const before = pinged();
    await rounds(BEAT.heartbeatMs, () => expect(pinged()).toBeGreaterThan(before + 1));
    expect(seen).toEqual([]);
    process.kill(vm.pid, "SIGSTOP");
    await rounds(DEADLINE_MS, () => expect(seen).toEqual(["unresponsive fake-0"]));
    process.kill(vm.pid, "SIGCONT");
    await rounds(BEAT.heartbeatMs, () => expect(seen).toEqual(["unresponsive fake-0", "responsive fake-0"]));
  });
});

describe("a VM whose guest hangs", () => {
  it("is unresponsive though its QEMU answers", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await fakeOf(fake, vm).follow({ at: { agent: "hold" } });
    await vm.heartbeat(100);
    expect(vm.state).toBe("unresponsive");
    await fakeOf(fake, vm).follow({});
    fakeOf(fake, vm).pass("agent");
    await vm.heartbeat(1000);
    expect(vm.state).toBe("running");
  });
});

describe("a VM that is parked", () => {
  it("is asked by its monitor only", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    await vm.park();
    const seen = announced(fake.pool);
    await vm.heartbeat(1000);
    expect(vm.state).toBe("parked");
    expect(seen).toEqual([]);
  });

  it("while its guest is being asked is not unresponsive for not answering", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    const seen = announced(fake.pool);
    const machine = fakeOf(fake, vm);
    await machine.follow({ at: { agent: "hold" } });
    const before = machine.steps.length;
    const beating = vm.heartbeat(300);
    await eventually(() => expect(machine.steps.slice(before)).toContain("agent"));
    await vm.park();
    await beating;
    expect(seen).toEqual(["parked fake-0"]);
    await machine.follow({});
    machine.pass("agent");
    await vm.resume();
    expect(vm.state).toBe("running");
  });
});

describe("Health", () => {
  it("has one VM that hangs hold up no other, and asks each again when all were asked", async () => {
    const asked: string[] = [];
    const hanging = Promise.withResolvers<void>();
    const vm = (name: string, answer: Promise<void>) => {
      const heartbeat = () => {
        asked.push(name);
        return answer;
      };
      return { heartbeat } as unknown as Vm;
    };
    const others = ["a", "b", "c", "d", "e", "f"].map((name) => vm(name, Promise.resolve()));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    using _ = new Health({ intervalMs: 10, timeoutMs: 1, vms: () => [vm("hangs", hanging.promise), ...others] });
    await vi.advanceTimersByTimeAsync(30);
    expect(asked).toEqual(["hangs", "a", "b", "c", "d", "e", "f"]);
    hanging.resolve();
    await vi.advanceTimersByTimeAsync(10);
    expect(asked).toHaveLength(14);
  });

  it("asks nobody when its interval is 0, nor after it was ended", async () => {
    let asked = 0;
    const vms = () => [{ heartbeat: async () => void asked++ } as unknown as Vm];
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    using _ = new Health({ intervalMs: 0, timeoutMs: 1, vms });
    new Health({ intervalMs: 10, timeoutMs: 1, vms })[Symbol.dispose]();
    await vi.advanceTimersByTimeAsync(100);
    expect(asked).toBe(0);
  });
});

describe("a VM whose guest was stopped because the host's disk is full", () => {
  const DISK_FULL = { diskIsFull: true };
  const conts = (vm: { readonly steps: readonly string[] }) => vm.steps.filter((step) => step === "cont").length;

  it("goes on at its next sign of life", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    const machine = fakeOf(fake, vm);
    const before = conts(machine);
    await machine.follow(DISK_FULL);
    await vm.heartbeat(DEADLINE_MS);
    expect(conts(machine)).toBe(before + 1);
    expect(vm.state).toBe("running");
    await machine.follow({});
    await vm.heartbeat(DEADLINE_MS);
    expect(conts(machine)).toBe(before + 1);
    expect(await said(vm, "hostname")).toBe(vm.hostname);
  });

  it("stays parked when it was parked", async () => {
    await using fake = await openFakePool();
    const vm = await activateOne(fake.pool);
    const machine = fakeOf(fake, vm);
    await vm.park();
    const before = conts(machine);
    await machine.follow(DISK_FULL);
    await vm.heartbeat(DEADLINE_MS);
    expect([conts(machine), vm.state]).toEqual([before, "parked"]);
  });

  it("goes on with the next owner", async () => {
    await using fake = await openFakePool({ heartbeatMs: 0 });
    const vm = await activateOne(fake.pool);
    const machine = fakeOf(fake, vm);
    const before = conts(machine);
    await machine.follow(DISK_FULL);
    await fake.pool.close({ vms: "keep" });
    await using next = await fake.host.open({ heartbeatMs: 0 });
    expect(next.vms.map(({ state }) => state)).toEqual(["running"]);
    expect(conts(machine)).toBe(before + 1);
  });
});
