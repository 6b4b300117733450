import { isoImage } from "./iso9660.ts";

/** What cloud-init looks for. Source: its documentation, "NoCloud". */
const LABEL = "CIDATA";

/** Of every substrate the same: it is taken out again when the guest is generalized. */
const META_DATA = "instance-id: vm-substrate\nlocal-hostname: localhost\n";

/**
 * Nothing is installed (there is no network) or generated that clones do not keep: the language stays as the image has it, and the
 * one SSH key is there for the server to start with. Nobody gets a password.
 */
const USER_DATA = `#cloud-config
ssh_pwauth: false
package_update: false
locale: false
ssh_genkeytypes: [ed25519]
`;

/** A clone's addresses are given to it: nothing in the guest is to ask for others, or take them away. */
const NETWORK_CONFIG = "version: 1\nconfig: disabled\n";

/** The disk that tells a guest's cloud-init on its first boot that this is all. */
export function seedImage(): Buffer {
  return isoImage(LABEL, [
    { name: "meta-data", content: META_DATA },
    { name: "user-data", content: USER_DATA },
    { name: "network-config", content: NETWORK_CONFIG },
  ]);
}
