import { randomBytes } from "node:crypto";
import type { LeasedValues } from "./leases.ts";
import { newSshHostKey, type SshHostKey } from "./ssh-host-key.ts";

/** What RNDADDENTROPY is given: as much as the kernel's generator is keyed with. */
const ENTROPY_BYTES = 32;

/** All that must differ between clones of one substrate. */
export interface Identity extends LeasedValues {
  readonly prefixLength: number;
  /** 32 lower-case hexadecimal digits, machine-id(5). */
  readonly machineId: string;
  readonly sshHostKey: SshHostKey;
  /** Secret; used once. */
  readonly entropy: Buffer;
}

/** A full identity around leased values: everything else is random and needs no lease. */
export function newIdentity(values: LeasedValues, prefixLength: number): Identity {
  return {
    ...values,
    prefixLength,
    machineId: randomBytes(16).toString("hex"),
    sshHostKey: newSshHostKey(),
    entropy: randomBytes(ENTROPY_BYTES),
  };
}
