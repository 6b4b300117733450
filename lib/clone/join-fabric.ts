import { HUB_ID, type Monitor } from "../host/index.ts";
import type { Fabric } from "../netcfg/index.ts";

const FABRIC_ID = "fabric0";

/**
 * Plugs a VM's hub into its network. Harmless while the NIC's link is down, so it is done beside the personalisation.
 * Source: QEMU QMP reference, netdev_add.
 */
export async function joinFabric(qmp: Pick<Monitor, "execute">, fabric: Fabric, signal: AbortSignal): Promise<void> {
  switch (fabric.kind) {
    case "none":
      return;
    case "mcast": {
      const socket = { type: "socket", id: FABRIC_ID, mcast: `${fabric.group}:${fabric.port}`, localaddr: "127.0.0.1" };
      await qmp.execute("netdev_add", socket, { signal });
      const port = { type: "hubport", id: `${FABRIC_ID}-port`, hubid: HUB_ID, netdev: FABRIC_ID };
      await qmp.execute("netdev_add", port, { signal });
    }
  }
}
