import { createSocket } from "node:dgram";
import { once } from "node:events";
import { arpAnnouncement, arpSender } from "../../lib/netcfg/arp.ts";

const LOOPBACK = "127.0.0.1";

export interface ForeignHost extends Disposable {
  /** Every sender that it was told of, as "address is mac", in order. */
  readonly heard: readonly string[];
}

/** A host on a multicast fabric that is no VM of any pool: it says that it has some addresses to whoever asks for one of them. */
export async function foreignHost(
  { group, port }: { readonly group: string; readonly port: number },
  mac: string,
  addresses: readonly string[],
): Promise<ForeignHost> {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  socket.bind({ port, address: group, exclusive: true });
  await once(socket, "listening");
  socket.addMembership(group, LOOPBACK);
  socket.setMulticastInterface(LOOPBACK);
  const heard: string[] = [];
  socket.on("message", (frame) => {
    const sender = arpSender(frame);
    if (sender !== undefined) heard.push(`${sender.address} is ${sender.mac}`);
    const asked = [...frame.subarray(38, 42)].join(".");
    if (sender?.mac !== mac && addresses.includes(asked)) {
      socket.send(arpAnnouncement({ mac, address: asked }), port, group);
    }
  });
  return { heard, [Symbol.dispose]: () => socket.close() };
}
