import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, expectTypeOf, it } from "vitest";
import { GuestAgent, type GuestAgentClose, type GuestAgentInfo } from "../../lib/qmp/index.ts";
import { type FakePeer, FakeServer } from "../support/fake-line-server.ts";
import { type FakeCommands, FakeGuestAgent, NO_ANSWER } from "../support/fake-qmp-server.ts";

interface Connected extends AsyncDisposable {
  readonly agent: GuestAgent;
  readonly guest: FakeGuestAgent;
  readonly server: FakeServer;
}

async function connected(commands: FakeCommands = {}, onOpen: (peer: FakePeer) => void = () => {}): Promise<Connected> {
  const guest = new FakeGuestAgent(commands);
  const server = await FakeServer.listen((peer) => {
    onOpen(peer);
    return guest.protocol(peer);
  });
  const agent = await GuestAgent.connect(server.path);
  const stop = async () => {
    await agent.close();
    await server.close();
  };
  return { agent, guest, server, [Symbol.asyncDispose]: stop };
}

function saying(...replies: readonly (string | Uint8Array)[]): (args: unknown, peer: FakePeer) => unknown {
  return (_args, peer) => {
    for (const reply of replies) peer.send(reply);
    return NO_ANSWER;
  };
}

describe("GuestAgent.connect", () => {
  it("asks nothing of the guest, which may be paused", async () => {
    await using fake = await connected();
    await nextTurn();
    expect(fake.guest.received).toEqual([]);
    expect(fake.agent.needsSync).toBe(true);
  });

  it("fails with a code of its own where nobody listens", async () => {
    await expect(GuestAgent.connect("/nonexistent/agent")).rejects.toMatchObject({ code: "GUEST_AGENT_CLOSED" });
  });
});

describe("synchronisation", () => {
  it("precedes the first command, and only that", async () => {
    await using fake = await connected();
    await fake.agent.execute("guest-ping");
    await fake.agent.execute("guest-ping");
    expect(fake.guest.received).toEqual(["guest-sync-delimited", "guest-ping", "guest-ping"]);
  });

  it("uses another random number each time, within what JSON holds exactly", async () => {
    const ids: number[] = [];
    await using fake = await connected({
      "guest-sync-delimited": (args, peer) => {
        ids.push(Number(args.id));
        peer.send(Uint8Array.of(0xff));
        peer.send(`{"return": ${String(args.id)}}\n`);
        return NO_ANSWER;
      },
    });
    for (let round = 0; round < 20; round++) await fake.agent.sync();
    expect(new Set(ids).size).toBe(20);
    expect(ids.every(Number.isSafeInteger)).toBe(true);
  });

  it("ignores everything before the answer with its own number", async () => {
    const stale = Buffer.concat([
      Buffer.from('{"return": {"host-name": "template"}}\n{"ret'),
      Buffer.of(0xff),
      Buffer.from('{"return": 4711}\ngarbage \xff{]\n', "latin1"),
      Buffer.from(`{"return": ${"[".repeat(100_000)}\n`),
      Buffer.from('{"error": {"class": "GenericError", "desc": "Invalid JSON syntax"}}\n{"unfinished": '),
    ]);
    await using fake = await connected({}, (peer) => peer.send(stale));
    expect(await fake.agent.execute("guest-get-host-name")).toEqual({ "host-name": "fake" });
  });

  it("does not accept its number without the sentinel", async () => {
    const echo: FakeCommands = { "guest-sync-delimited": (args) => args.id };
    await using fake = await connected(echo);
    await expect(fake.agent.sync({ timeoutMs: 30 })).rejects.toMatchObject({ code: "GUEST_AGENT_TIMEOUT" });
    expect(fake.agent.needsSync).toBe(true);
  });

  it("follows a timeout, so that the late answer is nobody's", async () => {
    const late: (() => void)[] = [];
    await using fake = await connected({
      "guest-get-host-name": (_args, peer) => {
        late.push(() => peer.send('{"return": {"host-name": "late"}}\n'));
        return NO_ANSWER;
      },
      "guest-sync-delimited": (args, peer) => {
        for (const answer of late.splice(0)) answer();
        peer.send(Uint8Array.of(0xff));
        peer.send(`{"return": ${String(args.id)}}\n`);
        return NO_ANSWER;
      },
    });
    const timedOut = fake.agent.execute("guest-get-host-name", {}, { timeoutMs: 30 });
    await expect(timedOut).rejects.toMatchObject({ code: "GUEST_AGENT_TIMEOUT" });
    expect(fake.agent.needsSync).toBe(true);
    expect((await fake.agent.execute("guest-info")).version).toBe("7.2.22");
  });

  it("follows a second answer, whichever command it was for", async () => {
    const twice = saying('{"return": {"host-name": "one"}}\n{"return": {"host-name": "two"}}\n');
    await using fake = await connected({ "guest-get-host-name": twice });
    expect(await fake.agent.execute("guest-get-host-name")).toEqual({ "host-name": "one" });
    expect(fake.agent.needsSync).toBe(true);
    expect((await fake.agent.execute("guest-info")).version).toBe("7.2.22");
  });

  it("follows an answer that nobody asked for", async () => {
    const peers: FakePeer[] = [];
    await using fake = await connected({}, (peer) => peers.push(peer));
    await fake.agent.sync();
    peers[0]?.send('{"return": {"host-name": "forged"}}\n');
    while (!fake.agent.needsSync) await nextTurn();
    expect(await fake.agent.execute("guest-get-host-name")).toEqual({ "host-name": "fake" });
  });
});

describe("GuestAgent.execute", () => {
  it("sends the next command only after the answer to the last", async () => {
    let running = 0;
    const one = async () => {
      expect(++running).toBe(1);
      await nextTurn();
      running--;
      return {};
    };
    await using fake = await connected({ "guest-ping": one });
    await Promise.all(Array.from({ length: 10 }, () => fake.agent.execute("guest-ping")));
    expect(fake.guest.received).toHaveLength(11);
  });

  it("counts the wait for its turn in its deadline, and is then never sent", async () => {
    await using fake = await connected({ slow: () => NO_ANSWER });
    await fake.agent.sync();
    const first = fake.agent.execute("slow", {}, { timeoutMs: 100 }).catch(() => {});
    const second = fake.agent.execute("guest-ping", {}, { timeoutMs: 20 });
    await expect(second).rejects.toMatchObject({ code: "GUEST_AGENT_TIMEOUT" });
    await first;
    await fake.agent.execute("guest-info");
    expect(fake.guest.received).not.toContain("guest-ping");
  });

  it("fails by its deadline when the agent never answers", async () => {
    await using fake = await connected({ "guest-sync-delimited": () => NO_ANSWER });
    const unanswered = fake.agent.execute("guest-ping", {}, { timeoutMs: 20 });
    await expect(unanswered).rejects.toMatchObject({ code: "GUEST_AGENT_TIMEOUT" });
  });

  it("tells the agent's error, made fit to be shown", async () => {
    const failing = saying('{"error": {"class": "GenericError", "desc": "no\\u001b[31m"}}\n');
    await using fake = await connected({ "guest-set-time": failing });
    await expect(fake.agent.execute("guest-set-time")).rejects.toMatchObject({
      code: "GUEST_COMMAND_FAILED",
      details: { command: "guest-set-time", class: "GenericError", desc: "no\\u{1b}[31m" },
    });
    expect(fake.agent.needsSync).toBe(false);
  });

  it("takes silence for success where the command does not answer, and an error for an error", async () => {
    await using quiet = await connected();
    expect(await quiet.agent.execute("guest-shutdown", { mode: "powerdown" })).toEqual({});
    expect(quiet.agent.needsSync).toBe(true);
    const failing = saying('{"error": {"class": "GenericError", "desc": "not permitted"}}\n');
    await using refused = await connected({ "guest-shutdown": failing });
    await expect(refused.agent.execute("guest-shutdown")).rejects.toMatchObject({ code: "GUEST_COMMAND_FAILED" });
    await using gone = await connected({ "guest-shutdown": (_args, peer) => peer.destroy() ?? NO_ANSWER });
    expect(await gone.agent.execute("guest-shutdown")).toEqual({});
  });

  it("refuses arguments that are not JSON or ask for too much, before anything is sent", async () => {
    await using fake = await connected();
    await expect(fake.agent.execute("x", { big: 1n })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const huge = fake.agent.execute("guest-file-read", { handle: 1, count: 7_000_000 });
    await expect(huge).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(fake.guest.received).toEqual([]);
  });

  it("refuses more commands than a bounded number while they wait", async () => {
    await using fake = await connected({ "guest-sync-delimited": () => NO_ANSWER });
    const waiting = Array.from({ length: 1_025 }, () => fake.agent.execute("guest-ping").catch(() => {}));
    await expect(fake.agent.execute("guest-ping")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await fake.agent.close();
    await Promise.all(waiting);
  });

  it("is typed by the command's name", async () => {
    await using fake = await connected();
    expectTypeOf(await fake.agent.execute("guest-info")).toEqualTypeOf<GuestAgentInfo>();
    const untyped = () => fake.agent.execute("guest-fstrim");
    expectTypeOf(untyped).returns.resolves.toBeUnknown();
    // @ts-expect-error guest-exec-status needs a pid
    await fake.agent.execute("guest-exec-status", {}).catch(() => {});
  });
});

describe("a hostile guest", () => {
  it.each<[string, string, string | Uint8Array]>([
    ["garbage", "guest-ping", "hello\n"],
    ["an empty line", "guest-ping", "\n"],
    ["no object", "guest-ping", "[]\n"],
    ["neither return nor error", "guest-ping", '{"hello": 1}\n'],
    ["an error of the wrong shape", "guest-ping", '{"error": "x"}\n'],
    ["invalid UTF-8", "guest-get-host-name", Buffer.from('{"return": {"host-name": "\xc3("}}\n', "latin1")],
    ["a raw NUL", "guest-get-host-name", '{"return": {"host-name": "a\0b"}}\n'],
    ["an escaped NUL", "guest-get-host-name", '{"return": {"host-name": "a\\u0000b"}}\n'],
    ["deep nesting", "guest-info", `{"return": ${"[".repeat(400_000)}\n`],
    ["a __proto__ key", "guest-get-host-name", '{"return": {"__proto__": {"a": 1}, "host-name": "a"}}\n'],
    ["a long name", "guest-get-host-name", `{"return": {"host-name": "${"a".repeat(1_000)}"}}\n`],
    ["a result of another type", "guest-info", '{"return": 7}\n'],
    ["a pid that is text", "guest-exec", '{"return": {"pid": "1; reboot"}}\n'],
    ["a negative pid, which would be a group", "guest-exec", '{"return": {"pid": -1}}\n'],
    ["a fractional pid", "guest-exec", '{"return": {"pid": 1.5}}\n'],
    ["a status without exited", "guest-exec-status", '{"return": {"exitcode": 0}}\n'],
    ["an exit code that is text", "guest-exec-status", '{"return": {"exited": true, "exitcode": "0"}}\n'],
    ["output that is not base64", "guest-exec-status", '{"return": {"exited": true, "out-data": "!!!!"}}\n'],
    ["a count that is not what it sent", "guest-file-read", '{"return": {"count": 4, "buf-b64": "", "eof": true}}\n'],
    [
      "more than was asked for",
      "guest-file-read",
      '{"return": {"count": 12, "buf-b64": "AAAAAAAAAAAAAAAA", "eof": true}}\n',
    ],
    ["more written than was sent", "guest-file-write", '{"return": {"count": 9, "eof": false}}\n'],
    ["interfaces that are no list", "guest-network-get-interfaces", '{"return": {"length": 1}}\n'],
  ])("cannot do harm by %s; the channel goes on after a sync", async (_what, command, reply) => {
    await using fake = await connected({ [command]: saying(reply) });
    const args = command.startsWith("guest-file") ? { handle: 1, count: 8, "buf-b64": "AAAA" } : { pid: 1 };
    const call = fake.agent.execute(command, args);
    await expect(call).rejects.toMatchObject({ code: "GUEST_AGENT_PROTOCOL", details: { command } });
    expect(fake.agent.needsSync).toBe(true);
    expect(await fake.agent.execute("guest-get-time")).toBeGreaterThan(0);
  });

  it("gets its fields dropped where they are not known, and prototypes too", async () => {
    const reply = '{"return": {"host-name": "a", "isAdmin": true, "constructor": {"name": "x"}}}\n';
    await using fake = await connected({ "guest-get-host-name": saying(reply) });
    const answer: object = await fake.agent.execute("guest-get-host-name");
    expect(Object.keys(answer)).toEqual(["host-name"]);
    expect(Object.getPrototypeOf(answer)).toBeNull();
  });

  it.each([
    ["control", "guest-get-host-name", 1024 * 1024],
    ["data", "guest-exec-status", 8 * 1024 * 1024],
  ])("is cut off when an answer to a %s command exceeds its cap", async (_what, command, cap) => {
    const endless: FakeCommands = { [command]: saying(`{"return": "${"x".repeat(cap)}`) };
    await using fake = await connected(endless);
    const closes: GuestAgentClose[] = [];
    fake.agent.events.on("close", (close) => closes.push(close));
    const call = fake.agent.execute(command, { pid: 1 });
    await expect(call).rejects.toMatchObject({ code: "GUEST_AGENT_PROTOCOL" });
    expect(closes).toMatchObject([{ reason: "line-too-long" }]);
    await expect(fake.agent.execute("guest-ping")).rejects.toMatchObject({ code: "GUEST_AGENT_PROTOCOL" });
  });

  it("may send as much data as fits the cap of commands that return data", async () => {
    const data = "A".repeat(6_000_000);
    await using fake = await connected({
      "guest-exec-status": () => ({ exited: true, exitcode: 0, "out-data": data }),
    });
    expect((await fake.agent.execute("guest-exec-status", { pid: 1 }))["out-data"]).toHaveLength(6_000_000);
  });
});

describe("the end of a GuestAgent's channel", () => {
  it("settles the running command and all that wait, and is told once", async () => {
    await using fake = await connected({ "guest-sync-delimited": (_args, peer) => peer.destroy() ?? NO_ANSWER });
    const closes: GuestAgentClose[] = [];
    fake.agent.events.on("close", (close) => closes.push(close));
    const calls = Array.from({ length: 3 }, () => fake.agent.execute("guest-ping"));
    const settled = await Promise.allSettled(calls);
    for (const result of settled) expect(result).toMatchObject({ reason: { code: "GUEST_AGENT_CLOSED" } });
    expect(closes).toHaveLength(1);
    expect(fake.agent.closeCause).toBe(closes[0]);
  });

  it("comes with close(), which may be called again", async () => {
    await using fake = await connected({ slow: () => NO_ANSWER });
    await fake.agent.sync();
    const pending = expect(fake.agent.execute("slow")).rejects.toMatchObject({ code: "GUEST_AGENT_CLOSED" });
    while (!fake.guest.received.includes("slow")) await nextTurn();
    await fake.agent.close();
    await fake.agent.close();
    await pending;
    expect(fake.agent.closeCause?.reason).toBe("local");
  });
});
