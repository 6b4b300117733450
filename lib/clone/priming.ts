import { setTimeout as delay } from "node:timers/promises";
import { type Identity, newIdentity, personalise, randomMac, verifyResumed } from "../netcfg/index.ts";
import { guestExec } from "../qmp/index.ts";
import { type Manifest, warmUp } from "../substrate/index.ts";
import type { Clone } from "./clone.ts";
import { tellServices } from "./provision.ts";
import { verifyFromOutside } from "./verify-outside.ts";

const PRIME_TIMEOUT_MS = 30_000;
const SETTLE_MS = 100;
/**
 * To replace an identity is other code than to set the first one, and which of the kernel's timers and queues run meanwhile differs from time
 * to time: after the first two, each round finds less that was never run.
 */
const WARM_ROUNDS = 5;
/** TEST-NET-1 (RFC 5737): an address that nobody has. */
const PLACEHOLDER_ADDRESS = "192.0.2.1";
const PLACEHOLDER_PREFIX = 24;

/**
 * Has a guest that runs do once all that a claim will have it do, and lets it come to rest, with an identity that is no VM's. Under
 * emulation that takes the cold part of the work off the claim.
 *
 * @throws VmSubstrateError IDENTITY_UNVERIFIED, GUEST_*, TIMEOUT, ABORTED
 */
export async function warm(clone: Clone, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const { instance, guest } = clone;
  const { guest: profile, tell } = manifest;
  const within = { timeoutMs: PRIME_TIMEOUT_MS, signal };
  let identity = placeholder();
  for (let round = 0; round < WARM_ROUNDS; round++) {
    identity = placeholder();
    await personalise(guest.helper, identity, profile, within);
    if (round === 0) await guestExec(await guest.agent(), ["true"], within);
  }
  await tellServices(clone, tell, signal);
  await verifyFromOutside(instance, identity, signal);
  await warmUp(profile.ready, guest.helper, within);
  await settle(clone, identity, manifest, signal);
}

/** What all that was done has set off in the guest's kernel comes to rest here rather than in the claim. */
export async function settle(
  { guest }: Clone,
  identity: Identity,
  { guest: profile }: Pick<Manifest, "guest">,
  signal: AbortSignal,
): Promise<void> {
  const within = { timeoutMs: PRIME_TIMEOUT_MS, signal };
  await verifyResumed(guest.helper, identity, profile, within);
  await delay(SETTLE_MS, undefined, { signal });
  await verifyResumed(guest.helper, identity, profile, within);
}

/**
 * Gives a guest that runs, and is warm, the identity that it will be claimed with.
 * @throws VmSubstrateError as `warm`
 */
export async function primeWith(
  clone: Clone,
  identity: Identity,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<void> {
  const within = { timeoutMs: PRIME_TIMEOUT_MS, signal };
  await personalise(clone.guest.helper, identity, manifest.guest, within);
  await tellServices(clone, manifest.tell, signal);
  await verifyFromOutside(clone.instance, identity, signal);
}

/** As `primeWith`, with an identity that is no VM's, and a program by the agent. */
export async function personaliseOnTrial(clone: Clone, manifest: Manifest, signal: AbortSignal): Promise<void> {
  await primeWith(clone, placeholder(), manifest, signal);
  await guestExec(await clone.guest.agent(), ["true"], { timeoutMs: PRIME_TIMEOUT_MS, signal });
}

function placeholder(): Identity {
  return newIdentity(
    { hostname: "placeholder", address: PLACEHOLDER_ADDRESS, mac: randomMac() },
    { prefixLength: PLACEHOLDER_PREFIX },
  );
}
