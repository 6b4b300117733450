export type { AddressRequest } from "./address-plan.ts";
export { AddressProbe } from "./address-probe.ts";
export { type Change, commit } from "./change.ts";
export { FABRICS, type Fabric, type FabricKind } from "./fabric.ts";
export { Fabrics, type JoinedFabric } from "./fabrics.ts";
export { type GuestFile, requireGuestFile, writeFiles } from "./guest-files.ts";
export { CarriedHelper, type HelperChannel, type RequestOptions, ResidentHelper } from "./helper-channel.ts";
export { HELPER_PROTOCOL_VERSION, type HelperAnswer, type HelperOperation } from "./helper-protocol.ts";
export { HostnamePattern, requireHostname } from "./hostname.ts";
export {
  CLOCK_TOLERANCE_MS,
  clockReadMs,
  IDENTITY_PARTS,
  type Identity,
  type IdentityProfile,
  identityProfileSchema,
  type KernelTarget,
  MAX_AUTHORIZED_KEYS,
  newIdentity,
  type PersonaliseTarget,
  type PublicIdentity,
  publicIdentity,
  requireAuthorizedKeys,
} from "./identity/index.ts";
export { isAddress, isAddress6 } from "./ip-address.ts";
export { enclosingNetwork } from "./ip-subnet.ts";
export { type Hold, LeaseBook, type LeasedValues, type LeaseUse } from "./leases.ts";
export { isUnicastMac, linkLocalOf, randomMac } from "./mac.ts";
export { Network, type NetworkSpec } from "./network.ts";
export {
  personalise,
  verifyResumed,
} from "./personalise.ts";
export { identityFiles, identityFilesLeft, rehearseIdentity } from "./rehearse.ts";
export { Subnet } from "./subnet.ts";
export { Subnet6 } from "./subnet6.ts";
