import { formatAddress, parseAddress } from "./ip-address.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
const NOBODY = "00:00:00:00:00:00";
const UNSPECIFIED = "0.0.0.0";
const ETHERTYPE_ARP = 0x0806;
/** Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses. */
const ETHERNET_IPV4 = Buffer.from([0, 1, 8, 0, 6, 4]);
const REQUEST = 1;
/** The Ethernet header and the packet, without the padding that a real wire needs. */
const FRAME_BYTES = 14 + 28;

/** Whoever an ARP packet says to have an address. */
export interface ArpSender {
  readonly mac: string;
  readonly address: string;
}

/** Asks who has an address without claiming it, in the name of the NIC that is about to. Source: RFC 5227, 2.1.1. */
export function arpProbe(mac: string, address: string): Buffer {
  return arpRequest({ mac, address: UNSPECIFIED }, address);
}

/** Tells all neighbours who has an address from now on: gratuitous ARP. Source: RFC 5227, 2.3. */
export function arpAnnouncement({ mac, address }: ArpSender): Buffer {
  return arpRequest({ mac, address }, address);
}

/** Who says in an Ethernet frame that an address is theirs; undefined when nobody does. */
export function arpSender(frame: Uint8Array): ArpSender | undefined {
  if (frame.length < FRAME_BYTES) return undefined;
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.length);
  if (bytes.readUInt16BE(12) !== ETHERTYPE_ARP || !bytes.subarray(14, 20).equals(ETHERNET_IPV4)) return undefined;
  const address = formatAddress({ family: 4, bits: BigInt(bytes.readUInt32BE(28)) });
  return address === UNSPECIFIED ? undefined : { mac: macOf(bytes.subarray(22, 28)), address };
}

function arpRequest(sender: ArpSender, target: string): Buffer {
  const operation = Buffer.from([0, REQUEST]);
  const header = [bytesOf(BROADCAST), bytesOf(sender.mac), Buffer.from([ETHERTYPE_ARP >> 8, ETHERTYPE_ARP & 0xff])];
  const claimed = [bytesOf(sender.mac), quadOf(sender.address)];
  return Buffer.concat([...header, ETHERNET_IPV4, operation, ...claimed, bytesOf(NOBODY), quadOf(target)]);
}

function bytesOf(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

function macOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function quadOf(address: string): Buffer {
  const quad = Buffer.alloc(4);
  quad.writeUInt32BE(Number(parseAddress(address)?.bits));
  return quad;
}
