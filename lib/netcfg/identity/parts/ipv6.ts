import ipaddr from "ipaddr.js";
import { VmSubstrateError } from "../../../core/index.ts";
import type { KernelIdentity } from "../identity.ts";
import { type Expectation, exactPart, type KernelPart } from "../part.ts";

const LINK_LOCAL_PREFIX = 64;

/**
 * For a VM with an IPv6 address: that, and the link-local one that its MAC address makes; no other of either scope. The guest
 * does not make the second itself: it would be the one of the substrate's MAC address, the same in all clones. A VM without
 * gets neither: what IPv6 sets off in a kernel is a tenth of all that a clone runs. Source: RFC 4291 section 2.5.6 and
 * appendix A.
 */
export const ipv6: KernelPart = exactPart("ipv6", (asked, identity, { interface: nic, identity: profile }) => {
  if (profile?.ipv6 === false || identity.address6 === undefined) return [];
  const global = `${nic},${addressBytes(identity.address6).toString("hex")},${prefixLength6(identity)}`;
  const expectations: Expectation[] = [
    { operation: { name: "ipv6", value: asked === "set" ? global : `${nic},global` }, answer: global },
  ];
  if (profile === undefined) return expectations;
  const own = `${nic},${linkLocal(identity.mac).toString("hex")},${LINK_LOCAL_PREFIX}`;
  return [{ operation: { name: "ipv6", value: asked === "set" ? own : `${nic},link` }, answer: own }, ...expectations];
});

/** fe80::/64 and the modified EUI-64: the universal bit turned, ff:fe in the middle. */
function linkLocal(mac: string): Buffer {
  const [first = 0, ...rest] = Buffer.from(mac.replaceAll(":", ""), "hex");
  const interfaceId = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
  return Buffer.from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...interfaceId]);
}

function addressBytes(address: string): Buffer {
  if (ipaddr.IPv6.isValid(address)) return Buffer.from(ipaddr.IPv6.parse(address).toByteArray());
  throw new VmSubstrateError("INVALID_ARGUMENT", `"${address}" is not an IPv6 address`);
}

function prefixLength6({ prefixLength6: length }: KernelIdentity): number {
  if (length !== undefined) return length;
  throw new VmSubstrateError("INVALID_ARGUMENT", "an identity with an IPv6 address needs its prefix length");
}
