import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "../../lib/core/index.ts";
import { Monitor } from "../../lib/host/monitor.ts";
import { QmpClient } from "../../lib/qmp/index.ts";
import { eventually } from "../support/eventually.ts";
import { FakeServer } from "../support/fake-line-server.ts";
import { FakeQmp } from "../support/fake-qmp-server.ts";

let qmp: FakeQmp;
let server: FakeServer;
let monitor: Monitor;

beforeEach(async () => {
  qmp = new FakeQmp({ oneAtATime: true });
  server = await FakeServer.listen(qmp.protocol);
  monitor = new Monitor({ path: server.path, logger: silentLogger });
});
afterEach(async () => {
  await monitor[Symbol.asyncDispose]();
  await server.close();
});

const connections = () => qmp.received.filter((command) => command === "qmp_capabilities").length;

describe("a monitor", () => {
  it("is connected by the first command, once for all that come at the same time", async () => {
    expect(server.connections).toBe(0);
    const answers = await Promise.all([monitor.execute("query-status"), monitor.execute("query-status")]);
    expect(answers).toMatchObject([{ status: "paused" }, { status: "paused" }]);
    expect(connections()).toBe(1);
  });

  it("goes on with the connection that there is", async () => {
    const client = await QmpClient.connect(server.path);
    await using owned = new Monitor({ path: server.path, logger: silentLogger, client });
    await owned.execute("query-status");
    expect(connections()).toBe(1);
  });

  it("is connected anew by the next command when QEMU hung up or was cut off for talking nonsense", async () => {
    await monitor.execute("query-status");
    qmp.send("this is not QMP\n");
    await eventually(() => expect(server.connections).toBe(0));
    expect(await monitor.execute("query-status")).toMatchObject({ status: "paused" });
    expect(connections()).toBe(2);
  });

  it("fails a command that QEMU refuses, and keeps the connection", async () => {
    await expect(monitor.execute("no-such-command")).rejects.toMatchObject({ code: "QMP_COMMAND_FAILED" });
    await monitor.execute("query-status");
    expect(connections()).toBe(1);
  });

  it("fails every command after it was closed", async () => {
    await monitor.execute("query-status");
    await monitor[Symbol.asyncDispose]();
    await monitor[Symbol.asyncDispose]();
    await expect(monitor.execute("query-status")).rejects.toMatchObject({ code: "QMP_CLOSED" });
    await eventually(() => expect(server.connections).toBe(0));
  });

  it("fails commands with QMP_CONNECT when nobody listens any more", async () => {
    await server.close();
    await expect(monitor.execute("query-status")).rejects.toMatchObject({ code: "QMP_CONNECT" });
  });
});
