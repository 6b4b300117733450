import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, expectTypeOf, it } from "vitest";
import { QmpClient, type StatusInfo } from "../../lib/qmp/index.ts";
import { dripping, type FakePeer, FakeServer } from "../support/fake-line-server.ts";
import { eventLine, type FakeCommands, FakeQmp, NO_ANSWER } from "../support/fake-qmp-server.ts";
import { connected } from "../support/qmp-connection.ts";

const GREETING = '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}, "capabilities": ["oob"]}}';

/** Answers `replies` to query-status, as they are; `ID` in them stands for the command's id. */
function saying(...replies: readonly string[]): FakeCommands {
  return {
    "query-status": (_args, peer, id) => {
      for (const reply of replies) peer.send(`${reply.replaceAll("ID", JSON.stringify(id))}\n`);
      return NO_ANSWER;
    },
  };
}

describe("QmpClient.connect", () => {
  it("enables oob where it is offered, and nothing otherwise", async () => {
    const enabled: unknown[] = [];
    const commands: FakeCommands = { qmp_capabilities: (args) => enabled.push(args.enable) && {} };
    await using offered = await connected({ commands });
    await using without = await connected({ commands, capabilities: ["something-new"] });
    expect(enabled).toEqual([["oob"], undefined]);
    expect([offered.client.oobAvailable, without.client.oobAvailable]).toEqual([true, false]);
    const oob = without.client.execute("query-status", {}, { oob: true });
    await expect(oob).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("reads a greeting that arrives byte by byte", async () => {
    await using server = await FakeServer.listen(dripping(new FakeQmp().protocol));
    await using client = await QmpClient.connect(server.path);
    expect(client.greeting.version.qemu).toEqual({ major: 7, minor: 2, micro: 22 });
    expect(await client.execute("query-status")).toHaveProperty("running", false);
  });

  it("negotiates once with a QEMU that greets twice at once, as one that is just starting may", async () => {
    const qemu = new FakeQmp({ greeting: `${GREETING}\n${GREETING}\n` });
    await using server = await FakeServer.listen(qemu.protocol);
    await using client = await QmpClient.connect(server.path);
    expect(await client.execute("query-status")).toHaveProperty("running");
    expect(qemu.received).toEqual(["qmp_capabilities", "query-status"]);
  });

  it("connects again to a starting QEMU that greets twice, because two of its threads serve that connection", async () => {
    const qemu = new FakeQmp();
    const attempts = [new FakeQmp({ greeting: `${GREETING}\n${GREETING}\n` }), qemu];
    await using server = await FakeServer.listen((peer) => (attempts.shift() ?? qemu).protocol(peer));
    await using client = await QmpClient.connect(server.path, { retryUntilPresent: true });
    expect(await client.execute("query-status")).toHaveProperty("running");
    expect(qemu.received).toEqual(["qmp_capabilities", "query-status"]);
  });

  it("connects again to a starting QEMU that greets and hangs, and then drops the connection that woke it", async () => {
    const qemu = new FakeQmp();
    const greeted = new FakeQmp({ commands: { qmp_capabilities: () => NO_ANSWER } });
    const dropped = new FakeQmp({ greeting: null, onOpen: (peer) => peer.end() });
    const attempts = [greeted, dropped, qemu];
    await using server = await FakeServer.listen((peer) => (attempts.shift() ?? qemu).protocol(peer));
    await using client = await QmpClient.connect(server.path, { retryUntilPresent: true });
    expect(await client.execute("query-status")).toHaveProperty("running");
    expect(attempts).toEqual([]);
    expect(server.connections).toBe(1);
  });

  it("stops connecting again at its deadline", async () => {
    const qemu = new FakeQmp({ greeting: null, onOpen: (peer) => peer.end() });
    await using server = await FakeServer.listen(qemu.protocol);
    const connecting = QmpClient.connect(server.path, { retryUntilPresent: true, timeoutMs: 50 });
    await expect(connecting).rejects.toMatchObject({ code: "QMP_CONNECT", details: { timeoutMs: 50 } });
  });

  it("negotiates again when the second greeting comes later", async () => {
    await using fake = await connected();
    fake.qemu.send(`${GREETING}\n`);
    while (fake.qemu.received.length < 2) await nextTurn();
    expect(fake.qemu.received).toEqual(["qmp_capabilities", "qmp_capabilities"]);
    expect(await fake.client.execute("query-status")).toHaveProperty("running");
    expect(fake.closes).toEqual([]);
  });

  it("is not confused by what QEMU had left for an earlier client: events and late replies", async () => {
    const late = '{"return": {"late": true}, "id": "earlier-1"}\n{"error": {"class": "A", "desc": "b"}, "id": 1}\n';
    const greeting = `${eventLine("STOP")}${late}${GREETING}\n${late}`;
    await using server = await FakeServer.listen(new FakeQmp({ greeting }).protocol);
    await using client = await QmpClient.connect(server.path);
    expect(await client.execute("query-status")).toHaveProperty("running");
  });

  it("uses other ids than any client before it", async () => {
    const ids = new Set<unknown>();
    const commands: FakeCommands = { "query-status": (_args, _peer, id) => ids.add(id) && {} };
    await using server = await FakeServer.listen(new FakeQmp({ commands }).protocol);
    for (let round = 0; round < 10; round++) {
      await using client = await QmpClient.connect(server.path);
      await client.execute("query-status");
    }
    expect(ids.size).toBe(10);
  });

  it("gives up on a peer that does not greet, and hangs up", async () => {
    await using server = await FakeServer.listen(new FakeQmp({ greeting: null }).protocol);
    const connecting = QmpClient.connect(server.path, { timeoutMs: 30 });
    await expect(connecting).rejects.toMatchObject({ code: "QMP_CONNECT" });
    const peer = await server.connection();
    if (!peer.closed) await once(peer, "close");
    expect(server.connections).toBe(0);
  });

  it.each([
    ["garbage", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["a greeting without version", '{"QMP": {"capabilities": []}}\n'],
    ["a greeting of the wrong type", '{"QMP": 7}\n'],
    ["an endless line", "x".repeat(2_000_000)],
  ])("refuses %s", async (_what, greeting) => {
    await using server = await FakeServer.listen(new FakeQmp({ greeting }).protocol);
    await expect(QmpClient.connect(server.path)).rejects.toMatchObject({ code: "QMP_PROTOCOL" });
  });

  it("fails when the connection ends instead of an answer to the negotiation", async () => {
    const commands: FakeCommands = {
      qmp_capabilities: (_args, peer) => {
        peer.destroy();
        return NO_ANSWER;
      },
    };
    await using server = await FakeServer.listen(new FakeQmp({ commands }).protocol);
    await expect(QmpClient.connect(server.path)).rejects.toMatchObject({ code: "QMP_CONNECT" });
  });
});

describe("QmpClient.execute", () => {
  it("matches replies by id, in whatever order they come", async () => {
    const late: (() => void)[] = [];
    const commands: FakeCommands = {
      echo: (args) => new Promise((resolve) => late.push(() => resolve(args.number))),
    };
    await using fake = await connected({ commands });
    const numbers = [1, 2, 3, 4, 5];
    const replies = Promise.all(numbers.map((number) => fake.client.execute<number>("echo", { number })));
    while (late.length < numbers.length) await nextTurn();
    for (const answer of late.toReversed()) answer();
    expect(await replies).toEqual(numbers);
  });

  it("ignores the late reply to a command that timed out or was aborted", async () => {
    const held: { peer: FakePeer; id: unknown }[] = [];
    const commands: FakeCommands = { slow: (_args, peer, id) => held.push({ peer, id }) && NO_ANSWER };
    await using fake = await connected({ commands });
    const timedOut = fake.client.execute("slow", {}, { timeoutMs: 20 });
    await expect(timedOut).rejects.toMatchObject({ code: "TIMEOUT" });
    const controller = new AbortController();
    const aborted = fake.client.execute("slow", {}, { signal: controller.signal });
    const settled = expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    while (held.length < 2) await nextTurn();
    controller.abort();
    await settled;
    for (const { peer, id } of held) peer.send(`{"return": {}, "id": ${JSON.stringify(id)}}\n`);
    expect(await fake.client.execute("query-status")).toHaveProperty("running");
    expect(fake.client.closeCause).toBeUndefined();
  });

  it("sends nothing when its signal has fired before", async () => {
    await using fake = await connected();
    const aborted = fake.client.execute("cont", {}, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    await fake.client.execute("query-status");
    expect(fake.qemu.received).toEqual(["qmp_capabilities", "query-status"]);
  });

  it("refuses arguments that are not JSON, before anything is sent", async () => {
    await using fake = await connected();
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    for (const args of [circular, { big: 1n }]) {
      await expect(fake.client.execute("x", args)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(fake.qemu.received).toEqual(["qmp_capabilities"]);
  });

  it("refuses more commands than a bounded number while none is answered", async () => {
    await using fake = await connected({ commands: { slow: () => NO_ANSWER } });
    const pending = Array.from({ length: 1_024 }, () => fake.client.execute("slow").catch(() => {}));
    await expect(fake.client.execute("slow")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await fake.client.close();
    await Promise.all(pending);
  });

  it("shows the text of an error without control characters", async () => {
    const reply = '{"error": {"class": "GenericError", "desc": "\\u001b[2Jforged\\nline"}, "id": ID}';
    await using fake = await connected({ commands: saying(reply) });
    const failed = fake.client.execute("query-status");
    await expect(failed).rejects.toMatchObject({
      code: "QMP_COMMAND_FAILED",
      message: "QMP command query-status: GenericError: \\u{1b}[2Jforged\\u{a}line",
    });
  });

  it("gives objects without a prototype", async () => {
    await using fake = await connected({ commands: saying('{"return": {"a": {}}, "id": ID}') });
    const value: object = await fake.client.execute("query-status");
    expect(Object.getPrototypeOf(value)).toBeNull();
  });

  it("is typed by the command's name", async () => {
    await using fake = await connected();
    const { client } = fake;
    expectTypeOf(await client.execute("query-status")).toEqualTypeOf<StatusInfo>();
    const untyped = () => client.execute("x-anything", { a: 1 });
    const asked = () => client.execute<number>("x-anything");
    expectTypeOf(untyped).returns.resolves.toBeUnknown();
    expectTypeOf(asked).returns.resolves.toBeNumber();
    // @ts-expect-error set_link needs its arguments
    await client.execute("set_link").catch(() => {});
    // @ts-expect-error a typed command does not take arguments of another shape
    await client.execute("set_link", { name: "net0", up: "yes" }).catch(() => {});
  });
});

describe("the end of a QmpClient's connection", () => {
  it.each([
    ["a line that is not JSON", "garbage", "QMP_PROTOCOL"],
    ["a line that is no object", "[1]", "QMP_PROTOCOL"],
    ["an object that is no message", '{"hello": 1}', "QMP_PROTOCOL"],
    ["a reply with an unknown id", '{"return": {}, "id": 999}', "QMP_PROTOCOL"],
    ["a reply with an id of another type", '{"return": {}, "id": [ID]}', "QMP_PROTOCOL"],
    ["a reply without id", '{"return": {}}', "QMP_PROTOCOL"],
    ["an error without class", '{"error": {"desc": "x"}, "id": ID}', "QMP_PROTOCOL"],
    ["an event without name", '{"event": 1}', "QMP_PROTOCOL"],
    ["a third greeting", `${GREETING}\n${GREETING}`, "QMP_PROTOCOL"],
    ["a __proto__ key", '{"return": {"__proto__": {"running": true}}, "id": ID}', "QMP_PROTOCOL"],
    ["deep nesting", `{"return": ${"[".repeat(200_000)}, "id": ID}`, "QMP_PROTOCOL"],
  ])("comes with %s, and settles everything once", async (_what, line, code) => {
    await using fake = await connected({ commands: { ...saying(line), slow: () => NO_ANSWER } });
    const settled: unknown[] = [];
    const pending = [
      fake.client.execute("slow"),
      fake.client.waitForEvent("STOP"),
      fake.client.execute("query-status"),
    ].map((promise) => promise.catch((error: unknown) => settled.push(error)));
    await Promise.all(pending);
    expect(settled).toEqual([1, 2, 3].map(() => expect.objectContaining({ code })));
    expect(fake.closes).toMatchObject([{ reason: "protocol", error: { code } }]);
    expect(fake.client.closeCause).toBe(fake.closes[0]);
    await expect(fake.client.execute("query-status")).rejects.toMatchObject({ code });
  });

  it("comes with the second of two replies", async () => {
    const twice = saying('{"return": {"running": true}, "id": ID}', '{"return": {"running": false}, "id": ID}');
    await using fake = await connected({ commands: twice });
    expect(await fake.client.execute("query-status")).toEqual({ running: true });
    expect(await fake.closed).toMatchObject({ reason: "protocol" });
  });

  it("comes with EOF in the middle of a command", async () => {
    const commands: FakeCommands = {
      "query-status": (_args, peer) => {
        peer.send('{"return": ');
        peer.end();
        return NO_ANSWER;
      },
    };
    await using fake = await connected({ commands });
    await expect(fake.client.execute("query-status")).rejects.toMatchObject({ code: "QMP_CLOSED" });
    expect(fake.closes).toMatchObject([{ reason: "eof" }]);
  });

  it("comes quickly with 20 MB without a newline", async () => {
    await using fake = await connected();
    const started = performance.now();
    fake.qemu.send(Buffer.alloc(20_000_000, "x"));
    expect(await fake.closed).toMatchObject({ reason: "protocol", error: { code: "QMP_PROTOCOL" } });
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  it("comes with close(), which may be called again", async () => {
    await using fake = await connected({ commands: { slow: () => NO_ANSWER } });
    const pending = expect(fake.client.execute("slow")).rejects.toMatchObject({ code: "QMP_CLOSED" });
    await Promise.all([fake.client.close(), fake.client.close()]);
    await fake.client.close();
    await pending;
    expect(fake.closes).toMatchObject([{ reason: "local" }]);
    await expect(fake.client.waitForEvent("STOP")).rejects.toMatchObject({ code: "QMP_CLOSED" });
  });
});
