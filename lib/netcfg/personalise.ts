import type { HelperChannel, RequestOptions } from "./helper-channel.ts";
import type { HelperAnswer, HelperOperation } from "./helper-protocol.ts";
import {
  type Asked,
  CLOCK_TOLERANCE_MS,
  clock,
  clockNow,
  clockOffsetMs,
  IDENTITY_PARTS,
  type Identity,
  type IdentityPart,
  KERNEL_PARTS,
  type KernelIdentity,
  type KernelTarget,
  type PersonaliseTarget,
  unverified,
} from "./identity/index.ts";

/** Beyond this the clock is set once more: the first request runs on cold code and may take tens of milliseconds. */
const CLOCK_RESET_MS = 20;
const MAX_CLOCK_ATTEMPTS = 10;

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

/**
 * Sets the guest's clock alone. On a busy machine the time may be long on its way, and the clock is then behind by as much: it is
 * set again until it was not.
 */
async function setClock(channel: HelperChannel, options: RequestOptions): Promise<void> {
  let offsetMs = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < MAX_CLOCK_ATTEMPTS && offsetMs > CLOCK_TOLERANCE_MS; attempt++) {
    const [answer = ""] = await channel.request([clockNow()], options);
    offsetMs = clockOffsetMs(answer);
  }
  if (offsetMs > CLOCK_TOLERANCE_MS) {
    throw unverified("clock", `within ${CLOCK_TOLERANCE_MS} ms`, `${Math.round(offsetMs)} ms off`);
  }
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
  const offsetMs = clockOffsetMs(answer.at(-1) ?? "");
  let next = 1;
  for (const question of asked) {
    const own = answer.slice(next, next + question.operations.length);
    question.verify(own);
    next += own.length;
  }
  if (offsetMs > CLOCK_RESET_MS) await setClock(channel, options);
}
