import { describe, expect, test } from "vitest";
import type { ActivateSpec } from "../../lib/index.ts";
import { expectRightClock, output, seenInside } from "../support/inside.ts";
import { openLab } from "../support/lab.ts";

const MCAST: ActivateSpec = {
  substrate: "mini",
  hostname: "node-{index}",
  network: { fabric: "mcast", subnet: "10.77.0.0/24" },
};

describe.each([true, false])("VMs claimed from a dock, primed: %s", (primed) => {
  test("have identities of their own, the right clock, and reach each other", async () => {
    await using lab = await openLab();
    await lab.pool.dock("mini", { min: 3, primed });
    await lab.pool.docked("mini", { count: 3 });
    const vms = await lab.pool.activate(3, MCAST);
    expect(vms.map(({ origin }) => origin)).toEqual(["docked", "docked", "docked"]);
    const inside = await Promise.all(vms.map(seenInside));
    for (const [i, vm] of vms.entries()) {
      const { hostname, address, mac, machineId, sshHostKey: hostKey } = vm;
      expect(inside[i]).toMatchObject({ hostname, hostnameFile: hostname, address, mac, machineId, hostKey });
      await expectRightClock(vm);
    }
    for (const part of ["hostname", "address", "mac", "machineId", "hostKey", "random"] as const) {
      expect(new Set(inside.map((seen) => seen[part])).size, part).toBe(3);
    }
    const [from, to] = vms;
    if (from === undefined || to === undefined) throw new Error("no VMs");
    await output(from, "ping", "-c", "1", "-W", "5", to.address);
  });
});

test("a dock is set again by the next owner, and its VMs have consoles", async () => {
  {
    await using before = await openLab();
    await before.pool.dock("mini", { min: 1 });
  }
  await using lab = await openLab({ docks: "restore" });
  const { pool } = lab;
  await pool.docked("mini", { count: 1 });
  const [vm] = await pool.activate(1, { substrate: "mini" });
  if (vm === undefined) throw new Error("no VM");
  expect(vm.origin).toBe("docked");
  await output(vm, "sh", "-c", "echo first > /dev/ttyS0");
  expect(await vm.console()).toContain("first\n");
  await output(vm, "sh", "-c", "printf '\\033[31msecond\\033[0m\\a\\n' > /dev/ttyS0");
  await vm.park();
  expect(await vm.console()).toMatch(/first\n(.*\n)*second\\u\{7\}\n/);
});

test("the clock of a VM that waited in the dock is right, and its placeholder identity is gone", async () => {
  await using lab = await openLab();
  await lab.pool.dock("mini", { min: 1 });
  await lab.pool.docked("mini", { count: 1 });
  await lab.pool.activate(1, { substrate: "mini" }).then(([vm]) => vm?.release());
  // The next one was docked before the last claim, and so has waited while other things went on.
  await lab.pool.docked("mini", { count: 1 });
  await lab.pool.coldBoot(1, { substrate: "mini" }).then(([vm]) => vm?.release());
  const [vm] = await lab.pool.activate(1, { substrate: "mini" });
  if (vm === undefined) throw new Error("no VM");
  expect(vm.origin).toBe("docked");
  await expectRightClock(vm);
  expect(await output(vm, "ip", "-o", "addr", "show", "eth0")).not.toContain("192.0.2.");
  expect(await output(vm, "cat", "/etc/hosts")).not.toContain("docked-");
});
