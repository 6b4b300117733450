import { expect, it } from "vitest";
import { joinFabric } from "../../lib/clone/join-fabric.ts";
import { QmpClient } from "../../lib/qmp/index.ts";
import { FakeServer } from "../support/fake-line-server.ts";
import { FakeQmp } from "../support/fake-qmp-server.ts";

const signal = new AbortController().signal;

it("a VM's hub is plugged into its network, without its link being touched, and into none not at all", async () => {
  const sent: unknown[] = [];
  const record = (args: unknown) => {
    sent.push(args);
    return {};
  };
  const qmp = new FakeQmp({ commands: { netdev_add: record, set_link: record } });
  await using server = await FakeServer.listen(qmp.protocol);
  await using client = await QmpClient.connect(server.path);
  await joinFabric(client, { kind: "none" }, signal);
  expect(sent).toEqual([]);
  await joinFabric(client, { kind: "mcast", group: "239.192.1.2", port: 20_001 }, signal);
  expect(sent).toEqual([
    { type: "socket", id: "fabric0", mcast: "239.192.1.2:20001", localaddr: "127.0.0.1" },
    { type: "hubport", id: "fabric0-port", hubid: 0, netdev: "fabric0" },
  ]);
});
