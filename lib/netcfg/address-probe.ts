import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { VmSubstrateError } from "../core/index.ts";
import { type ArpSender, arpAnnouncement, arpProbe, arpSender } from "./arp.ts";
import type { Fabric } from "./fabric.ts";

/** How long an answer may take at least: a host of the same machine takes less than one. */
const ANSWER_WAIT_MS = 5;
const LOOPBACK = "127.0.0.1";

/**
 * Asks a network whether somebody who is none of our VMs uses addresses that VMs are about to get: IPv4 address conflict
 * detection (RFC 5227), by ARP probes from the host, so that no guest has to wait for it. It listens for as long as it is
 * open, but not longer: what VMs say to each other is none of the controller's business, nor worth its time.
 */
export class AddressProbe implements Disposable {
  readonly #socket: Socket | undefined;
  readonly #fabric: Fabric;
  /** The MAC address that each address is to have. */
  readonly #own: ReadonlyMap<string, string>;
  readonly #foreign = new Map<string, string>();
  readonly #askedAt = performance.now();

  private constructor(fabric: Fabric, planned: readonly ArpSender[], socket: Socket | undefined) {
    this.#fabric = fabric;
    this.#own = new Map(planned.map(({ address, mac }) => [address, mac]));
    this.#socket = socket;
    socket?.on("message", (frame) => this.#heard(frame));
    socket?.on("error", () => {}); // what cannot be asked is not known: the leases alone then say who has what
    for (const { mac, address } of planned) this.#send(arpProbe(mac, address));
  }

  /** @returns one that knows of nobody where there is no network, or none to be asked */
  static async open(fabric: Fabric, planned: readonly ArpSender[]): Promise<AddressProbe> {
    const socket = fabric.kind === "none" || planned.length === 0 ? undefined : await joinGroup(fabric);
    return new AddressProbe(fabric, planned, socket);
  }

  /**
   * Resolves when nobody has answered for the address in time.
   * @throws VmSubstrateError ADDRESS_IN_USE
   */
  async requireUnused(address: string): Promise<void> {
    if (this.#socket === undefined) return;
    const remainingMs = this.#askedAt + ANSWER_WAIT_MS - performance.now();
    if (remainingMs > 0) await sleep(remainingMs);
    await setImmediate(); // what has come in by now is read before timers are served again
    const mac = this.#foreign.get(address);
    if (mac === undefined) return;
    const message = `address ${address} is used by another host of its network, with the MAC address ${mac}; end that host's use of it, or name another address`;
    throw new VmSubstrateError("ADDRESS_IN_USE", message, { details: { address, mac } });
  }

  /** Tells the neighbours of a VM that was plugged in: some may remember an earlier owner of its address. */
  announce(vm: ArpSender): void {
    this.#send(arpAnnouncement(vm));
  }

  [Symbol.dispose](): void {
    this.#socket?.close();
  }

  #heard(frame: Uint8Array): void {
    const sender = arpSender(frame);
    if (sender === undefined) return;
    const own = this.#own.get(sender.address);
    if (own !== undefined && own !== sender.mac) this.#foreign.set(sender.address, sender.mac);
  }

  #send(frame: Uint8Array): void {
    if (this.#fabric.kind === "none") return;
    this.#socket?.send(frame, this.#fabric.port, this.#fabric.group);
  }
}

/** As QEMU's own multicast sockets do; undefined where the host has no multicast on its loopback. */
async function joinGroup({ group, port }: Extract<Fabric, { kind: "mcast" }>): Promise<Socket | undefined> {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  try {
    socket.bind({ port, address: group, exclusive: true });
    await once(socket, "listening");
    socket.addMembership(group, LOOPBACK);
    socket.setMulticastInterface(LOOPBACK);
    return socket;
  } catch {
    socket.close();
    return undefined;
  }
}
