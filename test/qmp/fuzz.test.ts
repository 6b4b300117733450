import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GuestAgent, guestExec, isVmSubstrateError, QmpClient, readGuestFile } from "../../lib/qmp/index.ts";
import { FakeServer } from "../support/fake-line-server.ts";
import { FakeGuestAgent, FakeQmp, NO_ANSWER } from "../support/fake-qmp-server.ts";

/** Bytes of three kinds: any, lines of JSON, and messages that are nearly right. */
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
  fc.json().map((text) => Buffer.from(`${text}\n`)),
  fc
    .record(
      {
        return: fc.jsonValue({ maxDepth: 2 }),
        error: fc.jsonValue({ maxDepth: 2 }),
        event: fc.oneof(fc.constantFrom("STOP", "close", "event", "__proto__"), fc.jsonValue({ maxDepth: 1 })),
        QMP: fc.jsonValue({ maxDepth: 2 }),
        id: fc.oneof(fc.nat(5), fc.jsonValue({ maxDepth: 1 })),
        data: fc.jsonValue({ maxDepth: 2 }),
        timestamp: fc.jsonValue({ maxDepth: 2 }),
      },
      { requiredKeys: [] },
    )
    .map((message) => Buffer.from(`${JSON.stringify(message)}\n`)),
  fc
    .record(
      {
        pid: fc.jsonValue({ maxDepth: 1 }),
        exited: fc.boolean(),
        exitcode: fc.integer(),
        "out-data": fc.base64String(),
      },
      { requiredKeys: [] },
    )
    .map((value) => Buffer.from(`${JSON.stringify({ return: value })}\n`)),
);
const conversation = fc.array(bytes, { maxLength: 8 });

/** Every promise must settle, and every rejection must be one of ours. */
async function expectSettled(calls: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(calls)) {
    if (result.status === "rejected" && !isVmSubstrateError(result.reason)) throw result.reason;
  }
}

describe("whatever a peer sends", () => {
  it("as a greeting, connect settles", async () => {
    await fc.assert(
      fc.asyncProperty(conversation, async (parts) => {
        const qemu = new FakeQmp({ greeting: null, onOpen: (peer) => peer.send(Buffer.concat(parts)) });
        await using server = await FakeServer.listen(qemu.protocol);
        const connecting = QmpClient.connect(server.path, { timeoutMs: 20 });
        connecting.then(
          (client) => client.close(),
          () => {},
        );
        await expectSettled([connecting]);
      }),
      { numRuns: 60 },
    );
  });

  it("after the greeting, every QMP promise settles", async () => {
    await fc.assert(
      fc.asyncProperty(conversation, async (parts) => {
        const qemu = new FakeQmp({ commands: { anything: () => qemu.send(Buffer.concat(parts)) ?? NO_ANSWER } });
        await using server = await FakeServer.listen(qemu.protocol);
        await using client = await QmpClient.connect(server.path);
        const options = { timeoutMs: 20 };
        await expectSettled([
          client.execute("anything", {}, options),
          client.execute("query-status", {}, options),
          client.waitForEvent("STOP", options),
        ]);
        await client.close();
        expect(client.closeCause).toBeDefined();
      }),
      { numRuns: 100 },
    );
  });

  it("as a guest agent, every promise settles", async () => {
    await fc.assert(
      fc.asyncProperty(conversation, async (parts) => {
        const reply = Buffer.concat([...parts, Buffer.from("\n")]);
        const hostile = (_args: unknown, peer: { send: (data: Uint8Array) => void }) => peer.send(reply) ?? NO_ANSWER;
        const commands = ["guest-exec", "guest-exec-status", "guest-file-open", "guest-info", "guest-ping"];
        const guest = new FakeGuestAgent(Object.fromEntries(commands.map((name) => [name, hostile])));
        await using server = await FakeServer.listen(guest.protocol);
        await using agent = await GuestAgent.connect(server.path);
        const options = { timeoutMs: 20 };
        await expectSettled([
          agent.execute("guest-info", {}, options),
          agent.execute("guest-ping", {}, options),
          guestExec(agent, ["true"], options),
          readGuestFile(agent, "/f", options),
        ]);
        // Nothing it sent may have spoilt the channel.
        expect(await agent.execute("guest-get-host-name")).toEqual({ "host-name": "fake" });
      }),
      { numRuns: 100 },
    );
  });
});
