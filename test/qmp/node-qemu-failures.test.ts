import { describe, expect, it } from "vitest";
import { QmpClient } from "../../lib/qmp/index.ts";
import { FakeServer } from "../support/fake-line-server.ts";
import { FakeCommandError, type FakeCommands, FakeQmp, NO_ANSWER } from "../support/fake-qmp-server.ts";

/** What npm's `node-qemu` 1.3.0 does wrong on a monitor socket, each as what must happen instead. */
describe("failures of node-qemu", () => {
  it("connect() settles on EOF before the greeting", async () => {
    const qemu = new FakeQmp({ greeting: null, onOpen: (peer) => peer.end() });
    await using server = await FakeServer.listen(qemu.protocol);
    await expect(QmpClient.connect(server.path)).rejects.toMatchObject({ code: "QMP_CONNECT" });
  });

  it("connect() settles on a busy monitor, which accepts and does not greet", async () => {
    await using server = await FakeServer.listen(new FakeQmp({ oneAtATime: true }).protocol);
    await using first = await QmpClient.connect(server.path);
    const second = QmpClient.connect(server.path, { timeoutMs: 30 });
    await expect(second).rejects.toMatchObject({ code: "QMP_CONNECT", details: { timeoutMs: 30 } });
    expect(await first.execute("query-status")).toHaveProperty("running");
  });

  it("connect() settles when its caller gives up on it", async () => {
    await using server = await FakeServer.listen(new FakeQmp({ greeting: null }).protocol);
    const controller = new AbortController();
    const connecting = QmpClient.connect(server.path, { signal: controller.signal });
    const aborted = expect(connecting).rejects.toMatchObject({ code: "ABORTED" });
    await server.connection();
    controller.abort();
    await aborted;
  });

  it("an error to qmp_capabilities rejects connect()", async () => {
    const commands: FakeCommands = {
      qmp_capabilities: () => {
        throw new FakeCommandError("Capability oob is not available");
      },
    };
    await using server = await FakeServer.listen(new FakeQmp({ commands }).protocol);
    await expect(QmpClient.connect(server.path)).rejects.toMatchObject({
      code: "QMP_CONNECT",
      cause: { code: "QMP_COMMAND_FAILED", details: { command: "qmp_capabilities" } },
    });
  });

  it("one unanswered command does not block the later ones", async () => {
    await using server = await FakeServer.listen(new FakeQmp({ commands: { migrate: () => NO_ANSWER } }).protocol);
    await using client = await QmpClient.connect(server.path);
    const unanswered = client.execute("migrate", { uri: "fd:state" }, { timeoutMs: 60 });
    const timedOut = expect(unanswered).rejects.toMatchObject({ code: "TIMEOUT" });
    expect(await client.execute("query-status")).toHaveProperty("running");
    await timedOut;
  });

  it("a refused reconnect rejects and leaves the process alone", async () => {
    const server = await FakeServer.listen(new FakeQmp().protocol);
    const client = await QmpClient.connect(server.path);
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    client.events.on("close", () => resolve());
    await server.close();
    await closed;
    for (let attempt = 0; attempt < 3; attempt++) {
      await expect(QmpClient.connect(server.path)).rejects.toMatchObject({ code: "QMP_CONNECT" });
    }
  });
});
