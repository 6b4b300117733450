import { describe, expect, it } from "vitest";
import { openFabric, plugIn } from "../../lib/clone/join-fabric.ts";
import { QmpClient } from "../../lib/qmp/index.ts";
import { FakeServer } from "../support/fake-line-server.ts";
import { type FakeArguments, FakeQmp } from "../support/fake-qmp-server.ts";

const live = new AbortController().signal;
const MCAST = { kind: "mcast", group: "239.192.1.2", port: 20_001 } as const;

/** What QEMU is told, in order. */
async function told(work: (qmp: QmpClient) => Promise<void>): Promise<FakeArguments[]> {
  const received: FakeArguments[] = [];
  const record = (args: FakeArguments) => {
    received.push(args);
    return {};
  };
  const qmp = new FakeQmp({ commands: { netdev_add: record } });
  await using server = await FakeServer.listen(qmp.protocol);
  await using client = await QmpClient.connect(server.path);
  await work(client);
  return received;
}

describe("a fabric", () => {
  it("of multicast is opened on loopback alone, and leads nowhere before the VM is plugged in", async () => {
    expect(await told((qmp) => openFabric(qmp, MCAST, live))).toEqual([
      { type: "socket", id: "fabric0", mcast: "239.192.1.2:20001", localaddr: "127.0.0.1" },
    ]);
    expect(await told((qmp) => plugIn(qmp, MCAST, live))).toEqual([
      { type: "hubport", id: "fabric0-port", hubid: 0, netdev: "fabric0" },
    ]);
  });

  it("that is none needs nothing", async () => {
    const none = { kind: "none" } as const;
    expect(await told((qmp) => openFabric(qmp, none, live))).toEqual([]);
    expect(await told((qmp) => plugIn(qmp, none, live))).toEqual([]);
  });
});
