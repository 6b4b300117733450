import type { GuestProfile } from "../../recipe.ts";
import type { DebianDocument } from "./document.ts";

/** How far a clone can grow when it is claimed. Memory by 32 blocks of 128 MiB. */
const GROWTH_CPUS = 8;
const GROWTH_MEMORY_MIB = 4096;
const GROWTH_DISK_MIB = 65_536;
/** CONFIG_HZ of Debian's kernels. */
const KERNEL_TIMER_HZ = 250;

const KERNEL_ARGUMENTS = [
  "console=ttyS0",
  "quiet",
  "panic=-1",
  "net.ifnames=0",
  // A page of 2 MiB for a few KiB of a program's memory would be in every RAM file, and copied whole by each clone.
  "transparent_hugepage=madvise",
  "systemd.show_status=0",
  // What it starts and stops is no news, and each line of it would be work in every clone.
  "systemd.log_level=notice",
  // A small guest cannot spare the 64 MiB that the kernel takes when memory could be plugged above 4 GiB.
  "swiotlb=noforce",
  // Code that does not run need not be translated: under TCG the first run of anything costs 8 µs per basic block.
  "audit=0",
  "nowatchdog",
  "tsc=reliable",
  "psi=0",
];

/**
 * Tracing keeps 10 MiB of files about itself in memory, whether anybody traces or not. A kernel that keeps its memory
 * confidential has none. Source: kernel_lockdown(7).
 */
const WITHOUT_TRACING = ["lsm=lockdown,capability", "lockdown=confidentiality"];
const WITH_TRACING = ["lsm=capability"];

/** Debian with systemd, as the recipe makes it. The identity's files are in folders that its initramfs keeps in memory. */
export function debianGuest(document: DebianDocument): GuestProfile {
  const { memoryMiB, cpus, ready, keep } = document;
  const tracing = document.kernelTracing ? WITH_TRACING : WITHOUT_TRACING;
  return {
    recipe: "debian",
    memoryMiB,
    cpus,
    growth: {
      maxCpus: Math.max(cpus, GROWTH_CPUS),
      maxMemoryMiB: memoryMiB + GROWTH_MEMORY_MIB,
      timerHz: KERNEL_TIMER_HZ,
      disk: { kind: "disk", mountPoint: "/", device: "vda", maxDiskMiB: Math.max(document.diskMiB, GROWTH_DISK_MIB) },
    },
    kernelCommandLine: [...KERNEL_ARGUMENTS, ...tracing, ...document.kernelArguments].join(" "),
    interface: "eth0",
    helper: true,
    ready: [{ probe: "helper" }, { probe: "agent" }, ...ready],
    generalize: { remove: [], truncate: [], keep },
    identity: {
      ipv6: true,
      // Debian's cloud kernel has no CONFIG_VMGENID.
      vmGenerationId: false,
      hostname: "/etc/hostname",
      hosts: "/etc/hosts",
      // /var/lib/dbus/machine-id is a symbolic link to it.
      machineId: "/etc/machine-id",
      sshHostKey: { path: "/etc/ssh/ssh_host_ed25519_key", format: "openssh" },
      authorizedKeys: "/root/.ssh/authorized_keys",
      randomSeed: "/var/lib/systemd/random-seed",
    },
  };
}
