import type { DockView, MemoryUseView, OperationView, Second, SubstrateView, VmView } from "../../api/index.ts";

/** Noon of a day, for views whose time does not matter. */
const NOON = Date.UTC(2026, 0, 15, 12);
const MIB = 1024 ** 2;

/** A VM as the API shows it. Every field follows from the number. */
export function fakeVm(number: number, changes: Partial<VmView> = {}): VmView {
  const hex = number.toString(16).padStart(2, "0");
  const docked = number % 3 !== 0;
  const phasesMs: Record<string, number> = docked
    ? { plan: 0.4, wait: 1.2, personalise: 5.1 + (number % 7), verify: 2.2, link: 1.1 }
    : {
        plan: 0.6,
        wait: 8,
        overlay: 3,
        spawn: 62,
        load: 21,
        personalise: 95 + (number % 40),
        verify: 4,
        files: 6,
        link: 2,
      };
  return {
    id: `vm${number.toString().padStart(6, "0")}`,
    hostname: `web-${number}`,
    address: `10.77.${number >> 8}.${number & 255}`,
    address6: number % 2 === 0 ? `fd90::${hex}` : null,
    mac: `02:00:00:00:90:${hex.slice(-2)}`,
    machineId: hex.padStart(32, "0"),
    sshHostKey: `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${hex.padStart(43, "A")}`,
    substrate: { name: "mini", version: 3 },
    resources: { cpus: 1, memoryMiB: 96, diskMiB: 256 },
    origin: docked ? "docked" : "cloned",
    state: "running",
    labels: { match: String(17 + (number % 5)) },
    createdAt: new Date(NOON + number * 1000).toISOString(),
    expiresAt: null,
    pid: 4000 + number,
    timings: { totalMs: Object.values(phasesMs).reduce((sum, ms) => sum + ms, 0), phasesMs },
    ...changes,
  };
}

export function fakeDock(changes: Partial<DockView> = {}): DockView {
  return {
    substrate: "mini",
    version: 3,
    pinned: false,
    primed: true,
    ready: 6,
    starting: 1,
    target: 8,
    min: 4,
    max: 16,
    maxMiB: 1024,
    memoryMiB: 212.4,
    failures: 0,
    breaker: "closed",
    lastError: null,
    ...changes,
  };
}

export function fakeSubstrate(changes: Partial<SubstrateView> = {}): SubstrateView {
  return {
    name: "mini",
    version: 3,
    createdAt: new Date(NOON).toISOString(),
    recipe: "mini",
    accelerator: "tcg",
    qemu: "7.2.22",
    memory: { assignedBytes: 96 * MIB, usedBytes: 61 * MIB, residentBytes: 38 * MIB },
    generalized: [
      {
        trace: "ssh-host-keys",
        why: "Every clone gets keys of its own.",
        files: 2,
        paths: ["/etc/dropbear/dropbear_ed25519_host_key"],
      },
      { trace: "machine-id", why: "It names one machine.", files: 1, paths: ["/etc/machine-id"] },
    ],
    ...changes,
  };
}

export function fakeSecond(at: number, changes: Partial<Second> = {}): Second {
  return {
    at,
    claims: 0,
    failures: 0,
    p50Ms: null,
    p95Ms: null,
    p99Ms: null,
    vms: 4,
    ready: 6,
    memoryBytes: 300 * MIB,
    ...changes,
  };
}

export function fakeMemory(changes: Partial<MemoryUseView> = {}): MemoryUseView {
  return { clones: 10, bytes: 300 * MIB, perVmBytes: 32 * MIB, budgetBytes: 8192 * MIB, ...changes };
}

export function fakeOperation(changes: Partial<OperationView> = {}): OperationView {
  return {
    id: "op1",
    kind: "build",
    state: "running",
    createdAt: new Date(NOON).toISOString(),
    endedAt: null,
    progress: { step: "boot", message: "waiting for the guest" },
    result: null,
    error: null,
    ...changes,
  };
}
