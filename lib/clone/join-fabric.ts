import { HUB_ID, type Monitor } from "../host/index.ts";
import type { Fabric } from "../netcfg/index.ts";

const FABRIC_ID = "fabric0";

/**
 * Opens a VM's way to its network, which leads nowhere yet; harmless before the VM is verified, so that it is done beside that.
 * Source: QEMU QMP reference, netdev_add.
 */
export async function openFabric(qmp: Pick<Monitor, "execute">, fabric: Fabric, signal: AbortSignal): Promise<void> {
  switch (fabric.kind) {
    case "none":
      return;
    case "mcast": {
      const socket = { type: "socket", id: FABRIC_ID, mcast: `${fabric.group}:${fabric.port}`, localaddr: "127.0.0.1" };
      await qmp.execute("netdev_add", socket, { signal });
    }
  }
}

/** Plugs the hub of a VM's NIC into the network that was opened: from here on others hear it. */
export async function plugIn(qmp: Pick<Monitor, "execute">, fabric: Fabric, signal: AbortSignal): Promise<void> {
  if (fabric.kind === "none") return;
  const port = { type: "hubport", id: `${FABRIC_ID}-port`, hubid: HUB_ID, netdev: FABRIC_ID };
  await qmp.execute("netdev_add", port, { signal });
}
