import { rm } from "node:fs/promises";
import { type ProcessName, QemuInstance } from "../host/index.ts";
import { Clone } from "./clone.ts";
import type { ChannelKind, CloneDependencies } from "./dependencies.ts";
import { GuestLink } from "./guest-link.ts";

export interface Adoption {
  readonly id: string;
  readonly process: ProcessName;
  readonly channel: ChannelKind;
  /** The guest's helper as a program, for guests into which the agent must carry it. */
  readonly helperProgram: string;
}

/**
 * Takes over a VM that an earlier owner of the state directory has handed out. Nothing is asked of it yet: what does not
 * answer is still the VM of whoever it was handed to.
 *
 * @returns undefined when its process has ended
 */
export async function adoptClone(adoption: Adoption, deps: CloneDependencies): Promise<Clone | undefined> {
  const { id, process, channel, helperProgram } = adoption;
  const paths = deps.paths.vm(id);
  const instance = await QemuInstance.adopt({ process, paths, logger: deps.logger });
  if (instance === undefined) return undefined;
  const owned = new AsyncDisposableStack();
  owned.defer(() => rm(deps.paths.buildRam(id), { force: true })); // of one that was booted
  owned.defer(() => QemuInstance.removeFolders(paths));
  owned.use(instance);
  const guest = owned.use(GuestLink.lazily({ paths, channel, helperProgram }));
  return new Clone(instance, guest, owned);
}
