import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Vm } from "../../../lib/clone/index.ts";
import { MAX_SESSIONS, OUTPUT_WINDOW_BYTES } from "../../../lib/clone/session/frames.ts";
import { sessionProgram } from "../../../lib/substrate/index.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeHost, type FakePool, openFakePool } from "../../support/fake-host.ts";
import type { FakeScript, FakeStep } from "../../support/fake-qemu-script.ts";
import { addFakeSubstrate } from "../../support/fake-substrate.ts";
import { expectNothingLeft } from "../../support/nothing-left.ts";
import { PoolOwner } from "../../support/pool-owner-process.ts";
import { activateOne, fakeOf } from "../../support/vms.ts";

/** The guest's program, compiled once for all tests. */
let programs = "";
beforeAll(async () => {
  programs = await mkdtemp(join(tmpdir(), "programs-"));
  await sessionProgram(programs, AbortSignal.timeout(60_000));
}, 60_000);
afterAll(() => rm(programs, { recursive: true, force: true }));

interface FakeSession extends AsyncDisposable {
  readonly fake: FakePool;
  readonly vm: Vm;
}

async function addProgram({ paths }: FakeHost): Promise<void> {
  await mkdir(paths.nativeLibraries, { recursive: true, mode: 0o700 });
  await cp(programs, paths.nativeLibraries, { recursive: true });
}

async function openVm(script: FakeScript = {}): Promise<FakeSession> {
  await using undo = new AsyncDisposableStack();
  const fake = undo.use(await openFakePool({ heartbeatMs: 0 }));
  await addProgram(fake.host);
  const vm = await activateOne(fake.pool);
  await fakeOf(fake, vm).follow(script);
  const owned = undo.move();
  return {
    fake,
    vm,
    async [Symbol.asyncDispose]() {
      await owned.disposeAsync();
      await expectNothingLeft(fake.host.paths);
    },
  };
}

/** An open pool's only VM of what it was asked for. */
async function activateWith(fake: FakePool, env: Readonly<Record<string, string>>): Promise<Vm> {
  const [vm] = await fake.pool.activate(1, { substrate: "fake", env });
  if (vm === undefined) throw new Error("no VM");
  return vm;
}

const socketOf = ({ fake, vm }: FakeSession) => fake.host.paths.vm(vm.id).stream;

/** Nothing of a session is in the VM, so that it could be forked. */
async function expectUnplugged(opened: FakeSession): Promise<void> {
  expect(existsSync(socketOf(opened))).toBe(false);
  await opened.vm.whileRunning("look", async ({ instance }) => {
    expect(await instance.qmp.execute("query-chardev")).toEqual([]); // the fake lists what was added while it ran
  });
}

describe("a session", () => {
  it("gives what its program prints and how it ended, and leaves nothing", async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["print", "out", "err"]);
    expect(await Promise.all([text(session.stdout), text(session.stderr)])).toEqual(["out", "err"]);
    expect(await session.exited).toEqual({ exitCode: 0, signal: null });
    await session[Symbol.asyncDispose]();
    const other = await opened.vm.session(["exit", "7"]);
    expect(await other.exited).toEqual({ exitCode: 7, signal: null });
    await other[Symbol.asyncDispose]();
    await expectUnplugged(opened);
  });

  it("carries input of any length to the program, and its end", async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["cat"]);
    const input = Buffer.alloc(3_000_000, "abc\0\n");
    session.stdin.end(input);
    const output: Buffer[] = [];
    for await (const chunk of session.stdout) output.push(chunk as Buffer);
    expect(Buffer.concat(output).equals(input)).toBe(true);
    expect(await session.exited).toEqual({ exitCode: 0, signal: null });
  });

  it("gives its program the VM's environment, PATH, and with a terminal HOME, PWD and TERM", async () => {
    await using opened = await openVm();
    const vm = await activateWith(opened.fake, { MODE: "vm", KEPT: "1" });
    const plain = await vm.session(["env"], { env: { MODE: "call" } });
    expect((await text(plain.stdout)).split("\n")).toEqual([
      "/",
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "MODE=call",
      "KEPT=1",
    ]);
    const tty = { columns: 80, rows: 24 };
    const terminal = await vm.session(["env"], { tty, env: { HOME: "/home/a" } });
    const lines = (await text(terminal.stdout)).split("\n");
    expect(lines[0]).toBe("/home/a");
    expect(lines).toEqual(expect.arrayContaining(["HOME=/home/a", "PWD=/home/a", "TERM=xterm-256color"]));
    const elsewhere = await vm.session(["env"], { tty: { ...tty, term: "dumb" }, cwd: "/srv" });
    const there = (await text(elsewhere.stdout)).split("\n");
    expect(there[0]).toBe("/srv");
    expect(there).toEqual(expect.arrayContaining(["HOME=/root", "PWD=/srv", "TERM=dumb"]));
  });

  it("passes on signals and the terminal's size", async () => {
    await using opened = await openVm();
    await using session = await opened.vm.session(["sleep"], { tty: { columns: 80, rows: 24 } });
    session.resize({ columns: 132, rows: 50 });
    session.kill("SIGINT");
    expect(await text(session.stdout)).toBe("50 132\n");
    expect(await session.exited).toEqual({ exitCode: null, signal: 2 });
    session.kill(); // of a program that has ended
    expect(() => session.resize({ columns: 0, rows: 50 })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
    expect(() => session.kill("SIGNOTHING" as NodeJS.Signals)).toThrow("there is no signal SIGNOTHING");
  });

  it("has no terminal to be resized unless it asked for one", async () => {
    await using opened = await openVm();
    await using session = await opened.vm.session(["sleep"]);
    expect(() => session.resize({ columns: 80, rows: 24 })).toThrow("has no terminal");
  });

  it("holds back a program whose output nobody reads", async () => {
    await using opened = await openVm();
    await using session = await opened.vm.session(["flood"]);
    const other = await opened.vm.session(["print", "beside"]);
    expect(await text(other.stdout)).toBe("beside"); // the flood came before it, and holds up nothing
    const kept = session.stdout.readableLength;
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThan(2 * OUTPUT_WINDOW_BYTES);
    let bytes = 0;
    for await (const chunk of session.stdout) {
      bytes += (chunk as Buffer).length;
      if (bytes > 8 * OUTPUT_WINDOW_BYTES) break; // as much as is read
    }
  });

  it("is refused before anything is touched when its arguments are wrong", async () => {
    await using opened = await openVm();
    const tty = { columns: 80, rows: 24 };
    const calls: [readonly string[], object][] = [
      [[], {}],
      [[""], {}],
      [["a\0b"], {}],
      [["true"], { cwd: "relative" }],
      [["true"], { env: { "A=B": "c" } }],
      [["true"], { env: { A: "c\0" } }],
      [["true"], { tty: { ...tty, rows: 0 } }],
      [["true"], { tty: { columns: 80 } }],
      [["true"], { timeoutMs: 0 }],
      [["true"], { shell: true }],
      [["x".repeat(70_000)], {}],
      [Array.from({ length: 5000 }, () => "x"), {}],
    ];
    for (const [argv, options] of calls) {
      await expect(opened.vm.session(argv, options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(fakeOf(opened.fake, opened.vm).steps).not.toContain("add-chardev");
  });

  it("ends its program when it is disposed of, and then is gone", async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["sleep"]);
    await session[Symbol.asyncDispose]();
    await session[Symbol.asyncDispose]();
    expect(await session.exited).toEqual({ exitCode: null, signal: 1 });
    await expectUnplugged(opened);
  });

  it("of a guest that does not end its program is given up", { timeout: 15_000 }, async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["stubborn"]);
    await session[Symbol.asyncDispose]();
    await expect(session.exited).rejects.toMatchObject({ code: "SESSION_FAILED" });
    await expectUnplugged(opened);
  });

  it("is aborted by its caller's signal, also when its program runs", async () => {
    await using opened = await openVm();
    const abort = new AbortController();
    const session = await opened.vm.session(["sleep"], { signal: abort.signal });
    abort.abort();
    await expect(session.exited).rejects.toMatchObject({ code: "ABORTED" });
    await session[Symbol.asyncDispose]();
    await expectUnplugged(opened);
  });
});

describe("sessions of one VM", () => {
  it("share a port, which goes with the last of them", async () => {
    await using opened = await openVm();
    const first = await opened.vm.session(["cat"]);
    const [second, third] = await Promise.all([opened.vm.session(["cat"]), opened.vm.session(["sleep"])]);
    first.stdin.end("one");
    second.stdin.end("two");
    expect(await text(first.stdout)).toBe("one");
    expect(await text(second.stdout)).toBe("two");
    await first[Symbol.asyncDispose]();
    expect(existsSync(socketOf(opened))).toBe(true);
    await third[Symbol.asyncDispose]();
    expect(fakeOf(opened.fake, opened.vm).steps.filter((step) => step === "add-port")).toHaveLength(1);
    await expectUnplugged(opened);
  });

  it("are bounded in number", async () => {
    await using opened = await openVm();
    const sessions = await Promise.all(Array.from({ length: MAX_SESSIONS }, () => opened.vm.session(["sleep"])));
    const refused = opened.vm.session(["sleep"]);
    await expect(refused).rejects.toMatchObject({ code: "SESSION_FAILED", message: expect.stringContaining("16") });
    await sessions[0]?.[Symbol.asyncDispose]();
    const next = await opened.vm.session(["true"]);
    expect(await next.exited).toEqual({ exitCode: 0, signal: null });
    await Promise.all(sessions.map((session) => session[Symbol.asyncDispose]()));
    await expectUnplugged(opened);
  });

  it("keep their VM from being forked or frozen until they have ended", async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["sleep"]);
    const refusal = { code: "FORK_REFUSED", message: expect.stringContaining("an open session; end them first") };
    await expect(opened.vm.fork(1)).rejects.toMatchObject(refusal);
    await expect(opened.vm.freeze({ name: "saved" })).rejects.toMatchObject(refusal);
    await using _ = await opened.vm.session(["sleep"]);
    await expect(opened.vm.fork(1)).rejects.toThrow("has 2 open sessions");
    await session[Symbol.asyncDispose]();
    await _[Symbol.asyncDispose]();
    await expectUnplugged(opened);
  });

  it("wait while it is forked", async () => {
    await using opened = await openVm({ at: { split: "hold" } });
    const fake = fakeOf(opened.fake, opened.vm);
    const forking = opened.vm.fork(1);
    await eventually(() => expect(fake.steps).toContain("split"));
    const opening = opened.vm.session(["true"]);
    await opened.vm.memory(); // a turn of the event loop and more
    expect(fake.steps).not.toContain("add-chardev");
    fake.pass("split");
    const [fork] = await forking;
    expect(await (await opening).exited).toEqual({ exitCode: 0, signal: null });
    await fork?.release();
  });
});

const BRING_UP: readonly FakeStep[] = ["add-chardev", "add-port", "carry", "session"];

describe("a session that cannot be opened", () => {
  it("says that there is no such program", async () => {
    await using opened = await openVm();
    await expect(opened.vm.session(["nope"])).rejects.toMatchObject({
      code: "GUEST_COMMAND_FAILED",
      message: "session: the guest could not start nope: no such file or directory",
    });
    await expectUnplugged(opened);
  });

  it.each<[string, FakeScript]>([
    ["QEMU has no back end for its port", { at: { "add-chardev": "fail" } }],
    ["QEMU has no place for its port", { at: { "add-port": "fail" } }],
    ["the guest's agent may not start programs", { at: { carry: "fail" } }],
    ["the guest's program finds no port", { carrier: "broken" }],
    ["the guest says something that is no frame", { carrier: "garbage" }],
  ])("because %s leaves nothing", async (_, script) => {
    await using opened = await openVm(script);
    await expect(opened.vm.session(["true"])).rejects.toMatchObject({ code: "SESSION_FAILED" });
    await fakeOf(opened.fake, opened.vm).follow({});
    await expectUnplugged(opened);
    const session = await opened.vm.session(["true"]);
    expect(await session.exited).toEqual({ exitCode: 0, signal: null });
  });

  it("because the guest says nothing fails in time", async () => {
    await using opened = await openVm({ carrier: "deaf" });
    await expect(opened.vm.session(["true"], { timeoutMs: 300 })).rejects.toMatchObject({ code: "TIMEOUT" });
    await fakeOf(opened.fake, opened.vm).follow({});
    await expectUnplugged(opened);
  });

  it.each(BRING_UP)("because QEMU dies at %s fails with VM_GONE", async (step) => {
    await using opened = await openVm({ at: { [step]: "die" } });
    await expect(opened.vm.session(["true"])).rejects.toMatchObject({ code: "VM_GONE" });
    await eventually(() => expect(existsSync(opened.fake.host.paths.vm(opened.vm.id).dir)).toBe(false));
  });

  it.each(BRING_UP)("because its VM is released at %s fails with VM_GONE", async (step) => {
    await using opened = await openVm({ at: { [step]: "hold" } });
    const opening = opened.vm.session(["sleep"]);
    const failing = expect(opening).rejects.toMatchObject({ code: "VM_GONE" });
    await eventually(() => expect(fakeOf(opened.fake, opened.vm).steps).toContain(step));
    await opened.vm.release();
    await failing;
  });

  it.each(BRING_UP)("because its VM is left to the next owner at %s leaves nothing to that", async (step) => {
    await using opened = await openVm({ at: { [step]: "hold" } });
    const fake = fakeOf(opened.fake, opened.vm);
    const failing = expect(opened.vm.session(["sleep"])).rejects.toMatchObject({ code: "VM_GONE" });
    await eventually(() => expect(fake.steps).toContain(step));
    const closing = opened.fake.pool.close({ vms: "keep" });
    await fake.follow({});
    fake.pass(step);
    await failing;
    await closing;
    await using next = await opened.fake.host.open();
    expect(existsSync(socketOf(opened))).toBe(false);
    expect(await next.vms[0]?.fork(1)).toHaveLength(1);
    await next.close();
  });

  it.each(BRING_UP)("because it is aborted at %s leaves nothing", async (step) => {
    await using opened = await openVm({ at: { [step]: "hold" } });
    const fake = fakeOf(opened.fake, opened.vm);
    const abort = new AbortController();
    const opening = opened.vm.session(["sleep"], { signal: abort.signal });
    await eventually(() => expect(fake.steps).toContain(step));
    abort.abort();
    await fake.follow({});
    fake.pass(step);
    await expect(opening).rejects.toMatchObject({ code: "ABORTED" });
    await expectUnplugged(opened);
  });
});

describe("an open session", () => {
  it.each([
    ["sends more than it may", "overrun"],
    ["gives credit for what it was not sent", "overcredit"],
    ["speaks of a session that there is not", "stranger"],
  ])("of a guest that %s fails, and the VM goes on", async (_, program) => {
    await using opened = await openVm();
    const session = await opened.vm.session([program]);
    await expect(session.exited).rejects.toMatchObject({
      code: "SESSION_FAILED",
      message: expect.stringContaining("does not keep to the protocol"),
    });
    await expect(text(session.stdout)).rejects.toMatchObject({ code: "SESSION_FAILED" });
    await session[Symbol.asyncDispose]();
    await expectUnplugged(opened);
    expect((await opened.vm.exec(["hostname"])).exitCode).toBe(0);
  });

  it("fails when its program in the guest ends, which only the monitor tells", { timeout: 15_000 }, async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["sleep"]);
    await fakeOf(opened.fake, opened.vm).follow({ carrier: "gone" });
    await expect(session.exited).rejects.toMatchObject({ code: "SESSION_FAILED" });
    await session[Symbol.asyncDispose]();
    await expectUnplugged(opened);
  });

  it("ends with its VM", async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["sleep"]);
    await opened.vm.release();
    await expect(session.exited).rejects.toMatchObject({ code: "VM_GONE" });
    await session[Symbol.asyncDispose]();
    await expect(opened.vm.session(["true"])).rejects.toMatchObject({ code: "VM_GONE" });
  });

  it("ends with its VM's process", async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["sleep"]);
    process.kill(opened.vm.pid, "SIGKILL");
    await expect(session.exited).rejects.toMatchObject({ code: "VM_GONE" });
  });

  it("stands still while its VM is parked, and goes on with it", async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["cat"]);
    await opened.vm.park();
    await expect(opened.vm.session(["true"])).rejects.toMatchObject({ code: "VM_PARKED" });
    session.stdin.end("said to a parked VM");
    await opened.vm.resume();
    expect(await text(session.stdout)).toBe("said to a parked VM");
  });

  it.each<FakeStep>(["remove-port", "remove-chardev"])(
    "whose port cannot be taken away at %s is tried again",
    async (step) => {
      await using opened = await openVm({ at: { [step]: "fail" } });
      const session = await opened.vm.session(["sleep"]);
      const leaving = session[Symbol.asyncDispose]();
      await eventually(() => expect(fakeOf(opened.fake, opened.vm).steps).toContain(step));
      await fakeOf(opened.fake, opened.vm).follow({});
      await leaving;
      const [fork] = await opened.vm.fork(1);
      expect(existsSync(socketOf(opened))).toBe(false);
      await fork?.release();
    },
  );
});

describe("a later owner of the VM", () => {
  it("finds nothing of sessions when it was left in good order", async () => {
    await using opened = await openVm();
    const session = await opened.vm.session(["sleep"]);
    await opened.fake.pool.close({ vms: "keep" });
    await expect(session.exited).rejects.toMatchObject({ code: "VM_GONE", details: { state: "detached" } });
    expect(existsSync(socketOf(opened))).toBe(false);
    await using next = await opened.fake.host.open();
    const [vm] = next.vms;
    expect(await (await vm?.session(["true"]))?.exited).toEqual({ exitCode: 0, signal: null });
    await next.close();
  });
  it.each([
    ["takes away what an owner left that was killed in the middle of one", false],
    ["tries again before a fork, when it could not be taken away", true],
  ])("%s", async (_, isStuck) => {
    await using host = await FakeHost.create();
    await addProgram(host);
    await addFakeSubstrate(host.paths);
    const killed = await PoolOwner.start({ options: host.options(), does: { session: ["sleep"] } });
    expect(killed.said).toEqual(["ready"]);
    await killed[Symbol.asyncDispose]();
    const [fake] = host.qemu.vms;
    if (isStuck) await fake?.follow({ at: { "remove-port": "fail" } });
    await using pool = await host.open({ heartbeatMs: 0 });
    const [vm] = pool.vms;
    if (fake === undefined || vm === undefined) throw new Error("no VM");
    expect(fake.steps).toContain("remove-port");
    expect(existsSync(host.paths.vm(vm.id).stream)).toBe(isStuck);
    await fake.follow({});
    const [fork] = await vm.fork(1);
    expect(existsSync(host.paths.vm(vm.id).stream)).toBe(false);
    await fork?.release();
    expect(await (await vm.session(["true"])).exited).toEqual({ exitCode: 0, signal: null });
    await pool.close();
    await expectNothingLeft(host.paths);
  });
});
