import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { eventually } from "../../support/eventually.ts";
import { FakeHost } from "../../support/fake-host.ts";
import type { FakeScript, FakeStep } from "../../support/fake-qemu-script.ts";
import { addProgram, compileSessionProgram, expectUnplugged, openVm, socketOf } from "../../support/fake-session.ts";
import { addFakeSubstrate } from "../../support/fake-substrate.ts";
import { expectNothingLeft } from "../../support/nothing-left.ts";
import { PoolOwner } from "../../support/pool-owner-process.ts";
import { fakeOf } from "../../support/vms.ts";

compileSessionProgram();

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
