import { newIdentity, type PersonaliseTarget } from "../../lib/netcfg/index.ts";
import { FAKE_GUEST } from "./fake-substrate.ts";

/** An identity with all that leases give; nobody may log in. */
export const IDENTITY = newIdentity(
  { hostname: "n-1", address: "10.0.0.7", mac: "02:5e:10:aa:31:07", address6: "fd77::7" },
  { prefixLength: 24, prefixLength6: 64 },
);

/** A guest that has every part of an identity, with its SSH host key in OpenSSH's form. */
export const TARGET: PersonaliseTarget = {
  interface: FAKE_GUEST.interface,
  identity: { ...FAKE_GUEST.identity, sshHostKey: { path: "/etc/ssh/key", format: "openssh" } },
};
