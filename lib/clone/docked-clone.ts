import { randomUUID } from "node:crypto";
import { newId } from "../core/index.ts";
import { newIdentity, personalise, randomMac } from "../netcfg/index.ts";
import { guestExec } from "../qmp/index.ts";
import type { LoadedSubstrate } from "../substrate/index.ts";
import type { CloneDependencies } from "./dependencies.ts";
import { launchClone, type RestoredClone } from "./launch.ts";
import { PhaseClock } from "./phases.ts";

const PRIME_TIMEOUT_MS = 30_000;
/** TEST-NET-1 (RFC 5737): an address that nobody has. */
const PLACEHOLDER_ADDRESS = "192.0.2.1";
const PLACEHOLDER_PREFIX = 24;

/** A paused clone that waits to be claimed. Its link is down and it has no identity that counts. */
export interface DockedClone extends AsyncDisposable {
  readonly id: string;
  /** Whether it ran once: its first claim then finds the code it needs translated and its agent awake. */
  readonly primed: boolean;
  readonly clone: RestoredClone;
}

/**
 * Launches a clone for the dock. A primed one runs everything that a claim will run, with a placeholder for an identity,
 * and is paused again; under emulation that takes the cold part of the work off the claim.
 *
 * @throws VmSubstrateError as `launchClone`, IDENTITY_UNVERIFIED, GUEST_*; nothing is left
 */
export async function dockClone(
  substrate: LoadedSubstrate,
  primed: boolean,
  deps: CloneDependencies,
  signal: AbortSignal,
): Promise<DockedClone> {
  const plan = { id: newId(), uuid: randomUUID() };
  const now = performance.now();
  await using undo = new AsyncDisposableStack();
  const clone = undo.use(await launchClone(plan, substrate, "helper", deps, new PhaseClock(now, now), signal));
  if (primed) await clone.instance.process.guard("priming", prime(plan.id, clone, substrate, signal));
  undo.move();
  return { id: plan.id, primed, clone, [Symbol.asyncDispose]: () => clone[Symbol.asyncDispose]() };
}

async function prime(id: string, clone: RestoredClone, substrate: LoadedSubstrate, signal: AbortSignal): Promise<void> {
  const { interface: nic, sshHostKey } = substrate.manifest.guest;
  const values = { hostname: `docked-${id}`, address: PLACEHOLDER_ADDRESS, mac: randomMac() };
  const within = { timeoutMs: PRIME_TIMEOUT_MS, signal };
  await clone.instance.qmp.execute("cont", {}, within);
  await personalise(clone.helper, newIdentity(values, PLACEHOLDER_PREFIX), { interface: nic, sshHostKey }, within);
  await guestExec(clone.agent, ["true"], within);
  await clone.instance.qmp.execute("stop", {}, within);
}
