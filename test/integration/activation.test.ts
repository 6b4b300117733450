import { createHash, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { ActivateSpec } from "../../lib/index.ts";
import { linkLocalOf } from "../../lib/netcfg/index.ts";
import { expectRightClock, output, seenInside } from "../support/inside.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";

const MCAST: ActivateSpec = {
  substrate: "mini",
  hostname: "node-{index}",
  network: { fabric: "mcast", subnet: "10.77.0.0/24", subnet6: "fd77::/64" },
};

describe.each(["helper", "agent"] as const)("activation through the %s", (channel) => {
  test("every VM has an identity of its own, as told and as seen inside", async () => {
    await using lab = await openLab();
    const vms = await lab.pool.activate(4, { ...MCAST, channel });
    const inside = await Promise.all(vms.map(seenInside));
    for (const [i, vm] of vms.entries()) {
      expect(inside[i]).toMatchObject({
        hostname: vm.hostname,
        hostnameFile: vm.hostname,
        address: vm.address,
        mac: vm.mac,
        machineId: vm.machineId,
        hostKey: vm.sshHostKey,
        address6: vm.address6,
        linkLocal: linkLocalOf(vm.mac),
      });
      expect(await output(vm, "cat", "/etc/hosts")).toContain(`${vm.address} ${vm.hostname}`);
    }
    for (const part of [
      "hostname",
      "address",
      "address6",
      "mac",
      "machineId",
      "dbusId",
      "hostKey",
      "random",
      "randomSeed",
    ] as const) {
      expect(new Set(inside.map((seen) => seen[part])).size, part).toBe(4);
    }
  });

  test("the clock is right", async () => {
    await using lab = await openLab();
    const [vm] = await lab.pool.activate(1, { substrate: "mini", channel });
    if (vm === undefined) throw new Error("no VM");
    await expectRightClock(vm);
  });
});

test("VMs of one subnet reach each other over mcast, and SSH shows the host key that was announced", async () => {
  await using lab = await openLab();
  const [from, to] = await lab.pool.activate(2, MCAST);
  if (from === undefined || to === undefined) throw new Error("no VMs");
  await output(from, "ping", "-c", "1", "-W", "5", to.address);
  const { stderr } = await from.exec(["dbclient", "-T", "-y", "-o", "BatchMode=yes", `root@${to.address}`, "true"]);
  const blob = Buffer.from(to.sshHostKey.split(" ")[1] ?? "", "base64");
  const fingerprint = createHash("sha256").update(blob).digest("base64").replace(/=+$/, "");
  expect(stderr).toContain(`SHA256:${fingerprint}`);
});

test("VMs of different subnets, or of none, do not hear each other", async () => {
  await using lab = await openLab();
  const [one] = await lab.pool.activate(1, MCAST);
  const [other] = await lab.pool.activate(1, {
    substrate: "mini",
    network: { fabric: "mcast", subnet: "10.78.0.0/24" },
  });
  const [alone] = await lab.pool.activate(1, {
    substrate: "mini",
    network: { fabric: "none", subnet: "10.79.0.0/24" },
  });
  if (one === undefined || other === undefined || alone === undefined) throw new Error("no VMs");
  // An address of the other's subnet beside its own: only the fabric keeps them apart.
  await output(other, "ip", "addr", "add", "10.77.0.200/24", "dev", "eth0");
  expect((await other.exec(["ping", "-c", "1", "-W", "1", one.address])).exitCode).toBe(1);
  await output(alone, "ip", "addr", "add", "10.77.0.201/24", "dev", "eth0");
  expect((await alone.exec(["ping", "-c", "1", "-W", "1", one.address])).exitCode).toBe(1);
});

test("hostnames continue with the lowest free index, and are free again after release", async () => {
  await using lab = await openLab();
  const [zero, one] = await lab.pool.activate(2, { substrate: "mini" });
  expect([zero?.hostname, one?.hostname]).toEqual(["mini-0", "mini-1"]);
  await zero?.release();
  const again = await lab.pool.activate(2, { substrate: "mini" });
  expect(again.map((vm) => vm.hostname)).toEqual(["mini-0", "mini-2"]);
});

describe("a running VM", () => {
  test("runs programs with arguments, stdin, environment, and tells how they ended", async () => {
    await using lab = await openLab();
    const [vm] = await lab.pool.activate(1, { substrate: "mini" });
    if (vm === undefined) throw new Error("no VM");
    expect(await vm.exec(["cat"], { stdin: "in and out\n" })).toMatchObject({
      exitCode: 0,
      stdout: "in and out\n",
      stderr: "",
    });
    expect(await vm.exec(["sh", "-c", "echo $0 $WHO >&2; exit 7", "a b"], { env: { WHO: "me" } })).toMatchObject({
      exitCode: 7,
      stdout: "",
      stderr: "a b me\n",
    });
    expect(await vm.exec(["sh", "-c", "kill -TERM $$"])).toMatchObject({ exitCode: null, signal: 15 });
    await expect(vm.exec(["no-such-program"])).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
    await expect(vm.exec([])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(vm.exec(["sleep", "60"], { timeoutMs: 500 })).rejects.toMatchObject({ code: "GUEST_EXEC_TIMEOUT" });
    expect(await output(vm, "sh", "-c", "ps | grep '[s]leep 60' | wc -l")).toBe("0");
  });

  test("keeps its agent after a program that printed more than the channel takes", async () => {
    await using lab = await openLab();
    const [vm] = await lab.pool.activate(1, { substrate: "mini" });
    if (vm === undefined) throw new Error("no VM");
    await expect(vm.exec(["head", "-c", "7000000", "/dev/zero"])).rejects.toMatchObject({ name: "VmSubstrateError" });
    expect(await output(vm, "echo", "still here")).toBe("still here");
  });

  test("takes and gives files as they are", async () => {
    await using lab = await openLab();
    const [vm] = await lab.pool.activate(1, { substrate: "mini" });
    if (vm === undefined) throw new Error("no VM");
    const bytes = randomBytes(300_000);
    await vm.writeFile("/root/bytes", bytes);
    expect(Buffer.compare(await vm.readFile("/root/bytes"), bytes)).toBe(0);
    await expect(vm.readFile("/no/such/file")).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
    await expect(vm.readFile("/root/bytes", { maxBytes: 10 })).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
  });

  test("is gone after release, which may be called again", async () => {
    await using lab = await openLab();
    const [vm, other] = await lab.pool.activate(2, { substrate: "mini" });
    if (vm === undefined || other === undefined) throw new Error("no VMs");
    await Promise.all([vm.release(), vm.release()]);
    await vm.release();
    expect(vm.state).toBe("released");
    await expect(vm.exec(["true"])).rejects.toMatchObject({ code: "VM_GONE" });
    expect(lab.pool.vms).toEqual([other]);
    expect(await output(other, "echo", "unaffected")).toBe("unaffected");
  });

  test("whose QEMU is killed says so once, and gives back what it held", async () => {
    await using lab = await openLab();
    const [vm, other] = await lab.pool.activate(2, { substrate: "mini" });
    if (vm === undefined || other === undefined) throw new Error("no VMs");
    const causes: unknown[] = [];
    vm.events.on("exit", (cause) => causes.push(cause));
    const exited = new Promise((resolve) => vm.events.once("exit", resolve));
    process.kill(vm.pid, "SIGKILL");
    await exited;
    expect(vm.state).toBe("failed");
    expect(lab.pool.vms).toEqual([other]);
    await expect(vm.exec(["true"])).rejects.toMatchObject({ code: "VM_GONE" });
    const [next] = await lab.pool.activate(1, { substrate: "mini" });
    expect(next?.hostname).toBe(vm.hostname);
    expect(causes).toEqual([{ code: null, signal: "SIGKILL" }]);
  });
});

test("a closed pool has ended its VMs and left nothing", async () => {
  const lab = await openLab();
  const vms = await lab.pool.activate(2, MCAST);
  await lab[Symbol.asyncDispose]();
  expect(vms.map((vm) => vm.state)).toEqual(["released", "released"]);
  await expect(lab.pool.activate(1, MCAST)).rejects.toMatchObject({ code: "POOL_CLOSED" });
  await expectNothingLeft(labDirectories());
});

test("a cold boot of the same disk gives a VM of the same kind", async () => {
  await using lab = await openLab();
  const [vm] = await lab.pool.coldBoot(1, MCAST);
  if (vm === undefined) throw new Error("no VM");
  expect(await seenInside(vm)).toMatchObject({
    hostname: vm.hostname,
    address: vm.address,
    mac: vm.mac,
    hostKey: vm.sshHostKey,
  });
});
