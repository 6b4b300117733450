import type { IdentityProfile } from "../../../netcfg/index.ts";
import type { ReadyProbe } from "../../ready/index.ts";
import type { GuestGrowth, GuestProfile } from "../../recipe.ts";
import type { DiskDocument } from "./document.ts";

/** What Linux calls the first disk of virtio. */
const DISK = "vda";

/** A guest of which we know what its document says. Its kernel, command line and services are its own. */
export function diskGuest(document: DiskDocument): GuestProfile {
  const { firmware, memoryMiB, cpus, helper, keep, bootTimeoutMs: timeoutMs } = document;
  const first: ReadyProbe[] = [{ probe: "agent" }, ...(helper ? [{ probe: "helper" } as const] : [])];
  return {
    recipe: "disk",
    memoryMiB,
    cpus,
    ...growthOf(document),
    firmware,
    kernelCommandLine: "",
    interface: document.interface,
    helper,
    ready: [...first, ...document.ready].map((probe) => ({ ...probe, timeoutMs: probe.timeoutMs ?? timeoutMs })),
    generalize: { remove: [], truncate: [], keep },
    identity: identityOf(document),
  };
}

function growthOf({ growth, cpus, memoryMiB }: DiskDocument): { readonly growth?: GuestGrowth } {
  if (growth === undefined) return {};
  const { maxCpus = cpus, maxMemoryMiB = memoryMiB, disk } = growth;
  if (disk === undefined) return { growth: { maxCpus, maxMemoryMiB } };
  const { partition, maxDiskMiB } = disk;
  const where =
    partition === undefined
      ? ({ kind: "disk", device: DISK } as const)
      : ({ kind: "partition", device: `${DISK}${partition}` } as const);
  return { growth: { maxCpus, maxMemoryMiB, disk: { ...where, mountPoint: "/", maxDiskMiB } } };
}

function identityOf({ identity }: DiskDocument): IdentityProfile {
  const { ipv6, vmGenerationId, ...files } = identity;
  const present = Object.entries(files).filter(([, file]) => file !== null && file !== undefined);
  return { ipv6, vmGenerationId, ...Object.fromEntries(present) };
}
