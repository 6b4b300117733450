import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { GuestAgent, type GuestExecOptions, guestExec } from "../../lib/qmp/index.ts";
import { FakeServer } from "../support/fake-line-server.ts";
import { type FakeArguments, type FakeCommands, FakeGuestAgent, NO_ANSWER } from "../support/fake-qmp-server.ts";

async function connected(commands: FakeCommands = {}) {
  const guest = new FakeGuestAgent(commands);
  const server = await FakeServer.listen(guest.protocol);
  const agent = await GuestAgent.connect(server.path);
  const stop = async () => {
    await agent.close();
    await server.close();
  };
  return { agent, guest, [Symbol.asyncDispose]: stop };
}

describe("guestExec", () => {
  it("polls until the program has ended", async () => {
    let polls = 0;
    await using fake = await connected({
      "guest-exec-status": () => (++polls < 4 ? { exited: false } : { exited: true, exitcode: 3 }),
    });
    expect(await guestExec(fake.agent, ["true"])).toMatchObject({ exitCode: 3, signal: null });
    expect(polls).toBe(4);
  });

  it("cuts output at maxOutputBytes and says so, as it does when the agent cut it", async () => {
    await using fake = await connected();
    const result = await guestExec(fake.agent, ["cat"], { stdin: "0123456789", maxOutputBytes: 4 });
    expect(Buffer.from(result.stdout).toString()).toBe("0123");
    expect(result.truncated).toBe(true);
    await using cut = await connected({
      "guest-exec-status": () => ({ exited: true, exitcode: 0, "err-truncated": true }),
    });
    expect((await guestExec(cut.agent, ["true"])).truncated).toBe(true);
  });

  it("hands over arguments, input and environment as they are", async () => {
    const requests: FakeArguments[] = [];
    await using fake = await connected({
      "guest-exec": (args) => requests.push(args) && { pid: 1 },
      "guest-exec-status": () => ({ exited: true, exitcode: 0 }),
    });
    await guestExec(fake.agent, ["/bin/x", "$(reboot)", "a b", ""]);
    await guestExec(fake.agent, ["x"], { stdin: Uint8Array.of(0, 255), env: { A: "1" } });
    await guestExec(fake.agent, ["x"], { env: { PATH: "/only", B: "" } });
    expect(requests).toEqual([
      { path: "/bin/x", arg: ["$(reboot)", "a b", ""], "capture-output": true },
      {
        path: "x",
        arg: [],
        "capture-output": true,
        "input-data": "AP8=",
        env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1"],
      },
      { path: "x", arg: [], "capture-output": true, env: ["PATH=/only", "B="] },
    ]);
  });

  it.each<[string, string[], GuestExecOptions]>([
    ["an empty argument list", [], {}],
    ["an empty program", [""], {}],
    ["NUL in the program", ["a\0b"], {}],
    ["NUL in an argument", ["a", "b\0"], {}],
    ["an environment name with =", ["a"], { env: { "A=B": "c" } }],
    ["an empty environment name", ["a"], { env: { "": "c" } }],
    ["NUL in an environment value", ["a"], { env: { A: "\0" } }],
    ["too much input", ["a"], { stdin: new Uint8Array(4 * 1024 * 1024 + 1) }],
  ])("refuses %s before anything is sent", async (_what, argv, options) => {
    await using fake = await connected();
    await expect(guestExec(fake.agent, argv, options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(fake.guest.received).toEqual([]);
  });

  it("kills a program that runs out of time, and collects what is left of it", async () => {
    await using fake = await connected();
    const late = guestExec(fake.agent, ["sleep", "1000"], { timeoutMs: 30 });
    await expect(late).rejects.toMatchObject({ code: "GUEST_EXEC_TIMEOUT", details: { timeoutMs: 30 } });
    expect(fake.guest.processes).toBe(0);
  });

  it("kills a program when its caller gives up", async () => {
    await using fake = await connected();
    const controller = new AbortController();
    const running = guestExec(fake.agent, ["sleep", "1000"], { signal: controller.signal });
    const aborted = expect(running).rejects.toMatchObject({ code: "ABORTED" });
    while (!fake.guest.received.includes("guest-exec-status")) await nextTurn();
    controller.abort();
    await aborted;
    expect(fake.guest.processes).toBe(0);
  });

  it("blames the agent, not the program, when it does not confirm the start in time", async () => {
    await using fake = await connected({ "guest-exec": () => NO_ANSWER });
    const late = guestExec(fake.agent, ["true"], { timeoutMs: 20 });
    await expect(late).rejects.toMatchObject({ code: "GUEST_AGENT_TIMEOUT" });
  });

  it("reports the program's timeout although the kill fails", async () => {
    let starts = 0;
    await using fake = await connected({
      "guest-exec": () => (starts++ === 0 ? { pid: 5 } : { pid: "lie" }),
      "guest-exec-status": () => ({ exited: false }),
    });
    const late = guestExec(fake.agent, ["true"], { timeoutMs: 20 });
    await expect(late).rejects.toMatchObject({ code: "GUEST_EXEC_TIMEOUT" });
  });

  it("fails when the guest goes away meanwhile", async () => {
    await using fake = await connected({ "guest-exec-status": (_args, peer) => peer.destroy() ?? NO_ANSWER });
    await expect(guestExec(fake.agent, ["true"])).rejects.toMatchObject({ code: "GUEST_AGENT_CLOSED" });
  });
});
