import type { HelperChannel, RequestOptions } from "./helper-channel.ts";
import type { HelperAnswer, HelperOperation } from "./helper-protocol.ts";
import {
  type Asked,
  clock,
  clockBehindMs,
  clockNow,
  IDENTITY_PARTS,
  type Identity,
  type IdentityPart,
  KERNEL_PARTS,
  type KernelIdentity,
  type KernelTarget,
  type PersonaliseTarget,
} from "./identity/index.ts";
import { setClock } from "./set-clock.ts";

/** Beyond this the clock is set once more: the first request runs on cold code and may take tens of milliseconds. */
const CLOCK_RESET_MS = 20;

/**
 * Gives a running guest its identity, every part of it in one request, and checks from what the guest then reads back
 * that it has it. It is plugged into nothing meanwhile. Whatever the guest says is only believed when it equals what was asked for;
 * the MAC is checked from outside as well, by the caller.
 *
 * @throws VmSubstrateError IDENTITY_UNVERIFIED, GUEST_HELPER_FAILED, TIMEOUT, ABORTED
 */
export async function personalise(
  channel: HelperChannel,
  identity: Identity,
  target: PersonaliseTarget,
  options: RequestOptions,
): Promise<void> {
  const others = IDENTITY_PARTS.filter((part) => part !== clock);
  await askAll(channel, questions(others, "set", identity, target), options);
}

/**
 * For a guest that was given this identity before and was paused since: sets its clock, and checks hostname, MAC and
 * addresses. Only what the kernel keeps is asked for. A file in the guest is what it was when it was written and verified:
 * nothing ran that could have changed it. The kernel's values are what others see of the VM, and cheap to read, so that a
 * clone that was mixed up with another is found here.
 *
 * @throws VmSubstrateError as `personalise`
 */
export async function verifyResumed(
  channel: HelperChannel,
  identity: KernelIdentity,
  target: KernelTarget,
  options: RequestOptions,
): Promise<void> {
  await askAll(channel, questions(KERNEL_PARTS, "read", identity, target), options);
}

/** Operations, and what becomes of their answers. */
interface Question {
  readonly operations: readonly HelperOperation[];
  verify(answers: HelperAnswer): void;
}

function questions<I, T>(parts: readonly IdentityPart<I, T>[], asked: Asked, identity: I, target: T): Question[] {
  return parts.map((part) => ({
    operations: part[asked](identity, target),
    verify: (answers) => part.verify(answers, asked, identity, target),
  }));
}

/** All in one request, with the clock set before and read after everything else. */
async function askAll(channel: HelperChannel, asked: readonly Question[], options: RequestOptions): Promise<void> {
  const operations = asked.flatMap((question) => question.operations);
  const answer = await channel.request([clockNow(), ...operations, { name: "clock", value: "" }], options);
  const behindMs = clockBehindMs(answer.at(-1) ?? "");
  let next = 1;
  for (const question of asked) {
    const own = answer.slice(next, next + question.operations.length);
    question.verify(own);
    next += own.length;
  }
  if (Math.abs(behindMs) > CLOCK_RESET_MS) await setClock(channel, options);
}
