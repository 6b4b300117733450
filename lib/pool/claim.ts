import { type ClonePlan, newClonePlan } from "../clone/index.ts";
import type { Change, Fabric, Identity, LeaseBook, LeasedValues } from "../netcfg/index.ts";
import { newIdentity } from "../netcfg/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { Docked } from "./dock.ts";
import type { Docks } from "./docks.ts";
import type { IdentityTemplate } from "./identity-template.ts";

/** No identity that was made before will do. */
const NO_TEMPLATE = "";

export interface ClaimRequest {
  readonly count: number;
  readonly substrate: LoadedSubstrate;
  readonly template: IdentityTemplate;
  /** One for each VM; without them the template's pattern is used. */
  readonly hostnames?: readonly string[] | undefined;
  readonly addresses?: readonly string[] | undefined;
  readonly addresses6?: readonly string[] | undefined;
  readonly macs?: readonly string[] | undefined;
  readonly authorizedKeys: readonly string[];
  readonly fabric: Fabric;
  /** Whether docked clones may be used. */
  readonly fromDock: boolean;
}

export interface ClaimDependencies {
  readonly leases: LeaseBook;
  readonly docks: Docks;
}

/** What a call has for itself, as soon as this is made. When it is cancelled, the docked clones are the caller's to end. */
export interface Claim {
  /** Of leases: makes what was held durable, and must be confirmed or cancelled. */
  readonly hold: Change;
  readonly plans: readonly ClonePlan[];
  /** Every one of them is a docked clone that keeps the identity which it has. */
  readonly isSettled: boolean;
  /** Of `plans`, by id: those that are in memory already. */
  readonly docked: ReadonlyMap<string, Docked>;
  /** Clones that had to leave the dock, because they hold values that the claim asks for. */
  readonly evicted: readonly Docked[];
}

/**
 * Takes clones from the dock and chooses and holds identities, all in one turn of the event loop: no other call can take the
 * same in between.
 *
 * @throws VmSubstrateError LEASE_CONFLICT, LEASE_EXHAUSTED, ADDRESS_OUTSIDE_SUBNET, INVALID_ARGUMENT; nothing was taken
 */
export function holdClaim(request: ClaimRequest, deps: ClaimDependencies): Claim {
  const { count, template } = request;
  const { network } = template;
  const templateKey = isExplicit(request) ? NO_TEMPLATE : template.key;
  // An IPv6 address that is not replaced by another would stay.
  const accepts = ({ clone }: Docked) => network.subnet6 !== undefined || clone.plan.identity?.address6 === undefined;
  const dock = deps.docks.of(request.substrate);
  const usable = request.fromDock ? count : 0;
  const holders = holdersOf(request, deps.leases);
  const chosen = dock?.choose(usable, { templateKey, holders, accepts }) ?? [];
  const elsewhere = deps.docks.holding(holders, dock);
  const used = chosen.filter((docked) => docked.templateKey === templateKey || accepts(docked)).slice(0, usable);
  const evicted = [...chosen.filter((docked) => !used.includes(docked)), ...elsewhere.map(({ docked }) => docked)];

  // Those that have such an identity already keep it; all others, and the new ones, get one.
  const settled = used.filter((docked) => docked.templateKey === templateKey);
  const renamed = used.filter((docked) => docked.templateKey !== templateKey);
  const fresh = Array.from({ length: count - used.length }, newClonePlan);
  const named = [...renamed.map(({ clone }) => clone.plan), ...fresh];
  const hold = deps.leases.hold(
    named.map(({ id }) => id),
    { hostname: request.hostnames ?? template.hostname, network, ...pick(request) },
    { replacing: true, evicting: evicted.map(({ clone }) => clone.plan.id) },
  );
  dock?.take(chosen, usable); // nothing can fail any more
  for (const other of elsewhere) other.dock.take([other.docked], 0);
  const prefixes = { prefixLength: network.subnet.prefixLength, prefixLength6: network.subnet6?.prefixLength };
  const { authorizedKeys, fabric } = request;
  const plans = [
    ...settled.map(({ clone: { plan } }) => ({ ...plan, identity: plan.identity as Identity, fabric })),
    ...named.map(({ id, uuid }, i) => {
      const values = hold.values[i] as LeasedValues;
      return { id, uuid, identity: newIdentity(values, prefixes, { authorizedKeys }), fabric };
    }),
  ];
  return {
    plans,
    docked: new Map(used.map((docked) => [docked.clone.plan.id, docked])),
    evicted,
    isSettled: settled.length === count && evicted.length === 0,
    hold,
  };
}

/** Docked clones that hold a value which is asked for by name: nobody has them, so they give it up. */
function holdersOf(request: ClaimRequest, leases: LeaseBook): Set<string> {
  const { hostnames = [], addresses = [], addresses6 = [], macs = [] } = request;
  const { hostname } = request.template;
  const names = hostname.isIndexed ? hostnames : [hostname.pattern, ...hostnames];
  const owners = [
    ...names.map((name) => leases.ownerOf("hostname", name)),
    ...[...addresses, ...addresses6].map((address) => leases.ownerOf("address", address)),
    ...macs.map((mac) => leases.ownerOf("mac", mac)),
  ];
  return new Set(owners.filter((owner) => owner !== undefined));
}

function pick({ addresses, addresses6, macs }: ClaimRequest) {
  return { addresses, addresses6, macs };
}

/** Whether the claim names values of its own. */
function isExplicit({ hostnames, addresses, addresses6, macs }: ClaimRequest): boolean {
  return [hostnames, addresses, addresses6, macs].some((given) => given !== undefined);
}
