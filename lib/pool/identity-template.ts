import { type FabricKind, HostnamePattern, type Network } from "../netcfg/index.ts";

/** What identities are made of when nothing in particular is asked for: claims and docks that name the same share one. */
export interface IdentityTemplate {
  readonly hostname: HostnamePattern;
  readonly network: Network;
  readonly fabric: FabricKind;
  /** Equal for templates whose identities are interchangeable. */
  readonly key: string;
}

/** The fabric is no part of the key: a clone is plugged into its network when it is claimed. */
export function identityTemplate(hostname: HostnamePattern, network: Network, fabric: FabricKind): IdentityTemplate {
  const { subnet, subnet6, reserved } = network;
  const key = JSON.stringify([hostname.pattern, subnet.cidr, subnet6?.cidr, reserved.map(({ text }) => text)]);
  return { hostname, network, fabric, key };
}

/** The hostnames of who asks for none. */
export function defaultHostname(substrate: string): HostnamePattern {
  return HostnamePattern.parse(`${substrate}-{index}`);
}
