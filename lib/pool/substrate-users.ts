import { VmSubstrateError } from "../core/index.ts";
import { formatReference, type SubstrateVersion } from "../substrate/index.ts";
import type { Builds } from "./builds.ts";
import type { Docks } from "./docks.ts";
import type { LoadedSubstrates } from "./loaded-substrates.ts";
import type { SubstrateUser } from "./substrate-options.ts";
import type { VmLedger } from "./vm-ledger.ts";

/** An error names so many; the count is of all. */
const NAMED_USERS = 5;

export interface UsersDependencies {
  readonly ledger: VmLedger;
  readonly loaded: LoadedSubstrates;
  readonly builds: Builds;
  readonly docks: Docks;
}

/**
 * Everything that would miss a version: its disk is under the overlay of each clone, and its RAM file is mapped. A clone counts
 * from before it is made until nothing of it is left, for that is how long it is recorded.
 */
export function usersOf(of: SubstrateVersion, { ledger, loaded, builds, docks }: UsersDependencies): SubstrateUser[] {
  const records = ledger.records.filter(({ substrate }) => isSame(substrate, of));
  return [
    ...records.map(({ id, phase }): SubstrateUser => {
      return { kind: phase === "docked" || phase === "launching" ? "docked" : "vm", id };
    }),
    ...(docks.uses(of) ? [{ kind: "dock" } as const] : []),
    ...(builds.isBuilding(of.name) ? [{ kind: "build" } as const] : []),
    ...loaded.holdsOf(of).map((id): SubstrateUser => ({ kind: "call", id })),
  ];
}

export function inUse(of: SubstrateVersion, users: readonly SubstrateUser[]): VmSubstrateError {
  const named = users.slice(0, NAMED_USERS).map(({ kind, id }) => (id === undefined ? `a ${kind}` : `${kind} ${id}`));
  const more = users.length > named.length ? ` and ${users.length - named.length} more` : "";
  const message = `substrate ${formatReference(of)} is used by ${named.join(", ")}${more}; end those first`;
  return new VmSubstrateError("SUBSTRATE_IN_USE", message, { details: { name: of.name, version: of.version, users } });
}

function isSame(a: SubstrateVersion, b: SubstrateVersion): boolean {
  return a.name === b.name && a.version === b.version;
}
