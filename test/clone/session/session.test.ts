import { existsSync } from "node:fs";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import type { Vm } from "../../../lib/clone/index.ts";
import { MAX_SESSIONS, OUTPUT_WINDOW_BYTES } from "../../../lib/clone/session/frames.ts";
import { eventually } from "../../support/eventually.ts";
import type { FakePool } from "../../support/fake-host.ts";
import type { FakeStep } from "../../support/fake-qemu-script.ts";
import { compileSessionProgram, expectUnplugged, openVm, socketOf } from "../../support/fake-session.ts";
import { fakeOf } from "../../support/vms.ts";

compileSessionProgram();

/** An open pool's only VM of what it was asked for. */
async function activateWith(fake: FakePool, env: Readonly<Record<string, string>>): Promise<Vm> {
  const [vm] = await fake.pool.activate(1, { substrate: "fake", env });
  if (vm === undefined) throw new Error("no VM");
  return vm;
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
