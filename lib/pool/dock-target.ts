import type { z } from "zod";
import type { SubstrateReference } from "../substrate/index.ts";
import { defaultHostname, type IdentityTemplate, identityTemplate } from "./identity-template.ts";
import { type dockOptionsSchema, MAX_VMS_PER_ACTIVATION } from "./schemas.ts";

/** What a dock is to hold. */
export interface DockTarget {
  readonly min: number;
  readonly max: number;
  readonly maxMiB: number | undefined;
  readonly primed: boolean;
  /** Asked for by its number: no newer version takes its place. */
  readonly pinned: boolean;
  /** What the claims to come will ask for: primed clones have such an identity already. */
  readonly template: IdentityTemplate;
}

/** Options of `Pool.dock`, validated, with all that was left out. */
export function dockTarget(reference: SubstrateReference, options: z.output<typeof dockOptionsSchema>): DockTarget {
  const { min, maxMiB, primed, network, hostname = defaultHostname(reference.name) } = options;
  const max = options.max ?? (maxMiB === undefined ? min : MAX_VMS_PER_ACTIVATION);
  const template = identityTemplate(hostname, network, "none");
  return { min, max, maxMiB, primed, template, pinned: reference.version !== undefined };
}
