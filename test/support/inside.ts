import { expect } from "vitest";
import type { Vm } from "../../lib/index.ts";
import { CLOCK_TOLERANCE_MS } from "../../lib/netcfg/index.ts";

/** What a program in the guest prints; it must succeed. */
export async function output(vm: Vm, ...argv: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await vm.exec(argv);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  return stdout.trim();
}

/** What the guest itself says that it is. */
export async function seenInside(vm: Vm) {
  const { stdoutBytes } = await vm.exec(["head", "-c", "16", "/dev/urandom"]);
  const links = await output(vm, "ip", "-o", "addr", "show", "eth0");
  const seed = await vm.exec(["cat", "/var/lib/random-seed"]);
  return {
    random: Buffer.from(stdoutBytes).toString("hex"),
    hostname: await output(vm, "hostname"),
    hostnameFile: await output(vm, "cat", "/etc/hostname"),
    machineId: await output(vm, "cat", "/etc/machine-id"),
    address: /inet (\S+)\//.exec(links)?.[1],
    linkLocal: /inet6 (fe80:\S+)\//.exec(links)?.[1],
    address6: /inet6 (?!fe80:)(\S+)\//.exec(links)?.[1],
    dbusId: await output(vm, "cat", "/var/lib/dbus/machine-id"),
    authorizedKeys: await output(vm, "cat", "/root/.ssh/authorized_keys"),
    randomSeed: Buffer.from(seed.stdoutBytes).toString("hex"),
    mac: await output(vm, "cat", "/sys/class/net/eth0/address"),
    hostKey: /^ssh-ed25519 \S+/m.exec(
      await output(vm, "dropbearkey", "-y", "-f", "/etc/dropbear/dropbear_ed25519_host_key"),
    )?.[0],
  };
}

/** The guest's clock against this machine's, by a program in the guest. */
export async function expectRightClock(vm: Vm): Promise<void> {
  await vm.exec(["true"]); // the first program in a clone runs on cold code
  const before = Date.now();
  // busybox date has no sub-seconds; adjtimex(8) prints the kernel's own time of day.
  const times = await output(vm, "adjtimex");
  const after = Date.now();
  const seconds = Number(/time\.tv_sec:\s*(\d+)/.exec(times)?.[1]);
  const fraction = Number(/time\.tv_usec:\s*(\d+)/.exec(times)?.[1]);
  const nanoseconds = /STA_NANO|NANO/.test(times) || fraction >= 1_000_000;
  const guestMs = seconds * 1000 + fraction / (nanoseconds ? 1_000_000 : 1000);
  expect(guestMs).toBeGreaterThan(before - CLOCK_TOLERANCE_MS);
  expect(guestMs).toBeLessThan(after + CLOCK_TOLERANCE_MS);
}
