import type { IdentityProfile } from "../../../netcfg/index.ts";
import type { ReadyProbe } from "../../ready/index.ts";
import type { GuestProfile } from "../../recipe.ts";
import type { DiskDocument } from "./document.ts";

/** A guest of which we know what its document says. Its kernel, command line and services are its own. */
export function diskGuest(document: DiskDocument): GuestProfile {
  const { firmware, memoryMiB, cpus, helper, keep, bootTimeoutMs: timeoutMs } = document;
  const first: ReadyProbe[] = [{ probe: "agent" }, ...(helper ? [{ probe: "helper" } as const] : [])];
  return {
    recipe: "disk",
    memoryMiB,
    cpus,
    firmware,
    kernelCommandLine: "",
    interface: document.interface,
    helper,
    ready: [...first, ...document.ready].map((probe) => ({ ...probe, timeoutMs: probe.timeoutMs ?? timeoutMs })),
    generalize: { remove: [], truncate: [], keep },
    identity: identityOf(document),
  };
}

function identityOf({ identity }: DiskDocument): IdentityProfile {
  const { ipv6, vmGenerationId, ...files } = identity;
  const present = Object.entries(files).filter(([, file]) => file !== null && file !== undefined);
  return { ipv6, vmGenerationId, ...Object.fromEntries(present) };
}
