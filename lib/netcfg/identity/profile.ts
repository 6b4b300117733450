import { z } from "zod";

/**
 * Absolute, and without what would break out of a field of the helper's line (space, comma) or name another file than
 * it seems to (`..`).
 */
const guestPath = z.string().regex(/^(?:\/(?!\.\.?(?:\/|$))[\w.@+-]+)+$/);

export const identityProfileSchema = z.strictObject({
  /** Whether the guest's kernel has IPv6; it then gets the link-local address of its own MAC address, at least. */
  ipv6: z.boolean(),
  /** Whether the machine has a vmgenid device, which a kernel with CONFIG_VMGENID reseeds its generator by. */
  vmGenerationId: z.boolean(),
  hostname: guestPath.optional(),
  hosts: guestPath.optional(),
  machineId: guestPath.optional(),
  /** Where D-Bus keeps an id in a file of its own. A symbolic link to machine-id needs nothing. */
  dbusMachineId: guestPath.optional(),
  /** `openssh` writes the public half beside it, as PATH.pub. */
  sshHostKey: z.strictObject({ path: guestPath, format: z.enum(["dropbear", "openssh"]) }).optional(),
  authorizedKeys: guestPath.optional(),
  randomSeed: guestPath.optional(),
  /** ISC dhclient's lease file. systemd-networkd derives its DUID from machine-id and needs none. */
  dhclientLeases: guestPath.optional(),
});

/**
 * Which parts of an identity a guest has, and where. The paths are real ones: the helper refuses a symbolic link in the
 * last place, so that nothing in the guest can lead it elsewhere.
 */
export type IdentityProfile = Readonly<z.infer<typeof identityProfileSchema>>;

/** Where an identity goes. A manifest's `guest` is one. */
export interface PersonaliseTarget {
  /** The NIC's name in the guest. */
  readonly interface: string;
  readonly identity: IdentityProfile;
}

/** As much of it as what the kernel keeps needs. */
export interface KernelTarget {
  readonly interface: string;
  /** Without it, IPv6 is looked at only for an identity that has a global address. */
  readonly identity?: Pick<IdentityProfile, "ipv6"> | undefined;
}
