import type { IdentityPart, KernelPart } from "./part.ts";
import { authorizedKeys } from "./parts/authorized-keys.ts";
import { clock } from "./parts/clock.ts";
import { dhcpDuid } from "./parts/dhcp-duid.ts";
import { entropy } from "./parts/entropy.ts";
import { hostname, hostnameFile } from "./parts/hostname.ts";
import { hosts } from "./parts/hosts.ts";
import { ipv4 } from "./parts/ipv4.ts";
import { ipv6 } from "./parts/ipv6.ts";
import { mac } from "./parts/mac.ts";
import { dbusMachineId, machineId } from "./parts/machine-id.ts";
import { randomSeed } from "./parts/random-seed.ts";
import { sshHostKey } from "./parts/ssh-host-key.ts";

/** The MAC address before the addresses, so that nothing is announced with the old one. */
export const KERNEL_PARTS: readonly KernelPart[] = [hostname, mac, ipv4, ipv6];

/**
 * Every part of an identity, in the order in which a guest is given them: the clock first, because its value is out of
 * date from the moment it is read here; entropy before anything that could draw on it.
 */
export const IDENTITY_PARTS: readonly IdentityPart[] = [
  clock,
  entropy,
  ...KERNEL_PARTS,
  hostnameFile,
  hosts,
  machineId,
  dbusMachineId,
  sshHostKey,
  authorizedKeys,
  randomSeed,
  dhcpDuid,
];
