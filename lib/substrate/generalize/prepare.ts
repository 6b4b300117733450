import type { Progress } from "../progress.ts";
import type { GuestChannels } from "../ready/index.ts";
import type { GuestProfile } from "../recipe.ts";
import { type Generalized, generalize, requireGeneral } from "./generalize.ts";
import { reopenJournal } from "./journal.ts";
import { miniaturize, usedMemoryBytes, warmUp } from "./miniaturize.ts";
import { servicesToTell } from "./services.ts";
import type { StepOptions } from "./step-options.ts";

/** What is known of a guest that is nobody's any more, and small. */
export interface Prepared {
  /** What the guest has in use, by its own account. */
  readonly usedBytes: number;
  readonly tell: readonly (readonly string[])[];
  readonly generalized: readonly Generalized[];
}

/**
 * All that is done to a running guest before it may be frozen.
 * @throws VmSubstrateError BUILD_FAILED, GUEST_*, TIMEOUT, ABORTED
 */
export async function prepareToFreeze(
  channels: GuestChannels,
  guest: GuestProfile,
  progress: Progress,
  step: StepOptions,
): Promise<Prepared> {
  const tell = await servicesToTell(channels.agent, step);
  const generalized = await generalize(channels, guest, step);
  const removed = generalized.map(({ trace, files }) => `${trace} (${files})`).join(", ");
  progress("generalize", removed || "nothing to remove");
  progress("miniaturize", "free disk blocks, caches, free memory");
  await warmUp(channels, guest, step); // empties the identity's files, which the check wants
  await requireGeneral(channels, guest, step);
  await reopenJournal(channels.agent, step);
  await miniaturize(channels, guest, step);
  return { usedBytes: await usedMemoryBytes(channels, step), tell, generalized };
}
