export { MAX_AUTHORIZED_KEYS, requireAuthorizedKeys } from "./authorized-keys.ts";
export {
  type Identity,
  type KernelIdentity,
  newIdentity,
  type PublicIdentity,
  publicIdentity,
} from "./identity.ts";
export { type Asked, type IdentityPart, unverified } from "./part.ts";
export { CLOCK_TOLERANCE_MS, clock, clockBehindMs, clockNow, clockReadMs } from "./parts/clock.ts";
export { type IdentityProfile, identityProfileSchema, type KernelTarget, type PersonaliseTarget } from "./profile.ts";
export { IDENTITY_PARTS, KERNEL_PARTS } from "./registry.ts";
