import { randomBytes } from "node:crypto";
import type { LeasedValues } from "../leases.ts";
import { newSshHostKey, type SshHostKey } from "../ssh-host-key.ts";
import { requireAuthorizedKeys } from "./authorized-keys.ts";

/**
 * 256 bits: the whole state of the kernel's generator since Linux 5.18, so that more would add nothing. Source:
 * drivers/char/random.c (POOL_BITS); seedrng's MIN_SEED_LEN is the same.
 */
const SEED_BYTES = 32;

/** What the guest's kernel keeps of an identity, and others see of the VM. */
export interface KernelIdentity extends LeasedValues {
  readonly prefixLength: number;
  /** A global IPv6 address, beside the link-local one that the MAC address makes. */
  readonly address6?: string | undefined;
  readonly prefixLength6?: number | undefined;
}

/** What may be shown and stored. */
export interface PublicIdentity extends KernelIdentity {
  readonly machineId: string;
  /** As in known_hosts, without the host: "ssh-ed25519 AAAA...". */
  readonly sshHostKey: string;
}

/** All that must differ between clones of one substrate, and the keys that open this one. */
export interface Identity extends KernelIdentity {
  /** 32 lower-case hexadecimal digits, machine-id(5). */
  readonly machineId: string;
  readonly sshHostKey: SshHostKey;
  /** Lines "type base64 [comment]" of authorized_keys. Who may log in; empty for nobody. */
  readonly authorizedKeys: readonly string[];
  /** Secret; used once, for the kernel's generator. */
  readonly entropy: Buffer;
  /** Secret; what the guest's next boot starts its generator with. Other bytes than `entropy`, which is used up. */
  readonly randomSeed: Buffer;
}

/** Of the networks that the addresses belong to. */
export type PrefixLengths = Pick<KernelIdentity, "prefixLength" | "prefixLength6">;

export interface IdentityOptions {
  readonly authorizedKeys?: readonly string[] | undefined;
}

/**
 * A full identity around leased values: everything else is random and needs no lease.
 *
 * @throws VmSubstrateError INVALID_ARGUMENT for an authorized key that is not one
 */
export function newIdentity(
  values: LeasedValues,
  { prefixLength, prefixLength6 }: PrefixLengths,
  { authorizedKeys = [] }: IdentityOptions = {},
): Identity {
  requireAuthorizedKeys(authorizedKeys);
  return {
    ...values,
    prefixLength,
    ...(prefixLength6 === undefined ? {} : { prefixLength6 }),
    machineId: randomBytes(16).toString("hex"),
    sshHostKey: newSshHostKey(),
    authorizedKeys: [...authorizedKeys],
    entropy: randomBytes(SEED_BYTES),
    randomSeed: randomBytes(SEED_BYTES),
  };
}

/** An identity without its secrets. */
export function publicIdentity(identity: Identity): PublicIdentity {
  const { hostname, mac, address, prefixLength, address6, prefixLength6, machineId, sshHostKey } = identity;
  return {
    hostname,
    mac,
    address,
    prefixLength,
    ...(address6 === undefined ? {} : { address6 }),
    ...(prefixLength6 === undefined ? {} : { prefixLength6 }),
    machineId,
    sshHostKey: sshHostKey.publicKey,
  };
}
