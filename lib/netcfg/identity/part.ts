import { VmSubstrateError } from "../../core/index.ts";
import type { HelperAnswer, HelperOperation } from "../helper-protocol.ts";
import type { Identity, KernelIdentity } from "./identity.ts";
import type { KernelTarget, PersonaliseTarget } from "./profile.ts";

/** Which operations an answer belongs to: those of `set` answer less for a file than those of `read`. */
export type Asked = "set" | "read";

/**
 * One thing that must differ between clones. A new one is a file in parts/ and a line in registry.ts.
 *
 * @template I how much of an identity it needs
 * @template T how much it needs to know of the guest
 */
export interface IdentityPart<I = Identity, T = PersonaliseTarget> {
  readonly name: string;
  /** None where the guest has no such part. */
  set(identity: I, target: T): readonly HelperOperation[];
  /** Reads back what `set` would set, and changes nothing. */
  read(identity: I, target: T): readonly HelperOperation[];
  /**
   * @param answers one for each operation of `set` or `read`, as `asked` says
   * @throws VmSubstrateError IDENTITY_UNVERIFIED
   */
  verify(answers: HelperAnswer, asked: Asked, identity: I, target: T): void;
}

/** A part that the kernel keeps: it can change by itself, and others see it, so a resumed VM is asked for it again. */
export type KernelPart = IdentityPart<KernelIdentity, KernelTarget>;

/** An operation, and the only right answer to it. */
export interface Expectation {
  readonly operation: HelperOperation;
  readonly answer: string;
}

/** A part whose every answer is known beforehand. */
export function exactPart<I = Identity, T = PersonaliseTarget>(
  name: string,
  expectations: (asked: Asked, identity: I, target: T) => readonly Expectation[],
): IdentityPart<I, T> {
  const operations = (asked: Asked, identity: I, target: T) =>
    expectations(asked, identity, target).map(({ operation }) => operation);
  return {
    name,
    set: (identity, target) => operations("set", identity, target),
    read: (identity, target) => operations("read", identity, target),
    verify: (answers, asked, identity, target) => {
      for (const [i, { answer }] of expectations(asked, identity, target).entries()) {
        if (answers[i] !== answer) throw unverified(name, answer, answers[i] ?? "");
      }
    },
  };
}

/** How much of an expected or received text an error shows: an answer may be 64 KiB of anything. */
const SHOWN_CHARS = 100;

export function unverified(part: string, expected: string, got: string): VmSubstrateError {
  const [wanted, shown] = [expected.slice(0, SHOWN_CHARS), got.slice(0, SHOWN_CHARS)];
  return new VmSubstrateError("IDENTITY_UNVERIFIED", `the guest's ${part} is "${shown}", expected "${wanted}"`, {
    details: { part, expected: wanted, got: shown },
  });
}
