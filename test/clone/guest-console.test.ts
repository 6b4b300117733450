import { describe, expect, it } from "vitest";
import { FakeHost, type FakePool, openFakePool } from "../support/fake-host.ts";
import type { FakeScript } from "../support/fake-qemu-script.ts";
import { addFakeSubstrate } from "../support/fake-substrate.ts";
import { PoolOwner } from "../support/pool-owner-process.ts";
import { activateOne, fakeOf } from "../support/vms.ts";

const KEPT_BYTES = 65_536;

/** A pool whose guests have said something on their consoles. */
async function withConsole(text: string, more: FakeScript = {}): Promise<FakePool> {
  const fake = await openFakePool();
  fake.qemu.script = () => ({ ...more, ...saying(text) });
  return fake;
}

/** All that a guest has said, in the bytes of UTF-8. */
function saying(text: string): FakeScript {
  return { console: Buffer.from(text).toString("latin1") };
}

describe("a VM's console", () => {
  it("is the same for each who reads it, and goes on with what the guest says next", async () => {
    await using fake = await withConsole("one\n");
    const vm = await activateOne(fake.pool);
    expect(await Promise.all([vm.console(), vm.console()])).toEqual(["one\n", "one\n"]);
    await fakeOf(fake, vm).follow(saying("one\ntwo\n"));
    expect(await vm.console()).toBe("one\ntwo\n");
    expect(await vm.console({ maxBytes: 4 })).toBe("two\n");
  });

  it("is kept up to 64 KiB, the last of it", async () => {
    await using fake = await withConsole("a".repeat(KEPT_BYTES));
    const vm = await activateOne(fake.pool);
    expect(await vm.console()).toBe("a".repeat(KEPT_BYTES));
    await fakeOf(fake, vm).follow(saying(`${"a".repeat(KEPT_BYTES)}the end`));
    expect(await vm.console()).toBe(`${"a".repeat(KEPT_BYTES - 7)}the end`);
  });

  it("does not begin inside of a character, nor break at bytes that are no text", async () => {
    await using fake = await withConsole("東京 Gerät");
    const vm = await activateOne(fake.pool);
    expect(await vm.console({ maxBytes: 12 })).toBe("京 Gerät");
    expect(await vm.console({ maxBytes: 8 })).toBe(" Gerät");
    await fakeOf(fake, vm).follow({ console: `${Buffer.from("東京 Gerät").toString("latin1")}\xff\x00!` });
    expect(await vm.console({ maxBytes: 3 })).toBe("\ufffd\\u{0}!");
  });

  it("cannot take over the terminal of who reads it", async () => {
    await using fake = await withConsole("[ \u001b[32mOK\u001b[0m ]\r\nname\u001b]0;title\u0007\tx\u202ey\u009b2J\r");
    const vm = await activateOne(fake.pool);
    expect(await vm.console()).toBe("[ OK ]\nname\\u{1b}]0;title\\u{7}\tx\\u{202e}y\\u{9b}2J\n");
  });

  it("can be read while the VM is parked, and is gone with the VM", async () => {
    await using fake = await withConsole("booted\n");
    const vm = await activateOne(fake.pool);
    await vm.park();
    expect(await vm.console()).toBe("booted\n");
    await vm.release();
    await expect(vm.console()).rejects.toMatchObject({ code: "VM_GONE", details: { state: "released" } });
  });

  it("loses nothing when a reader gives up", async () => {
    await using fake = await withConsole("one\n", { at: { console: "hold" } });
    const vm = await activateOne(fake.pool);
    const aborting = new AbortController();
    const reading = vm.console({ signal: aborting.signal });
    const guest = await fake.qemu.reached("console");
    aborting.abort();
    await expect(reading).rejects.toMatchObject({ code: "ABORTED" });
    await guest.follow(saying("one\n"));
    guest.pass("console");
    expect(await vm.console()).toBe("one\n");
  });

  it("that QEMU does not give is VM_GONE when it ends meanwhile", async () => {
    await using fake = await withConsole("", { at: { console: "die" } });
    const vm = await activateOne(fake.pool);
    await expect(vm.console()).rejects.toMatchObject({ code: "VM_GONE" });
  });

  it.each([{ maxBytes: 0 }, { maxBytes: KEPT_BYTES + 1 }, { maxBytes: 1.5 }, { lines: 3 }])(
    "refuses %j",
    async (options) => {
      await using fake = await openFakePool();
      const vm = await activateOne(fake.pool);
      await expect(vm.console(options as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    },
  );

  it("can be read by the next owner, who has what nobody has read before", async () => {
    await using host = await FakeHost.create();
    await addFakeSubstrate(host.paths);
    host.qemu.script = () => saying("booted\n");
    {
      await using owner = await PoolOwner.start({ options: host.options(), does: { vms: 1 } });
      expect(owner.said).toEqual(["ready"]);
    }
    {
      await using pool = await host.open();
      expect(await pool.vms[0]?.console()).toBe("booted\n");
      await pool.close({ vms: "keep" });
    }
    await using pool = await host.open();
    expect(await pool.vms[0]?.console()).toBe("");
  });
});
