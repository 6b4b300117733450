export { type AddressRequest, planAddresses } from "./address-plan.ts";
export { FABRICS, type Fabric, type FabricKind, Fabrics } from "./fabric.ts";
export { CarriedHelper, type HelperChannel, ResidentHelper } from "./helper-channel.ts";
export { HELPER_PROTOCOL_VERSION, type HelperAnswer, type HelperOperation } from "./helper-protocol.ts";
export { HostnamePattern, isHostname } from "./hostname.ts";
export { type Identity, newIdentity } from "./identity.ts";
export { LeaseBook, type LeasedValues } from "./leases.ts";
export { awaitCarrier, CLOCK_TOLERANCE_MS, personalise } from "./personalise.ts";
export { isAddress, Subnet } from "./subnet.ts";
