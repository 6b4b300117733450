import { type ClientRequest, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { createConnection } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { EventLog } from "../../daemon/event-log.ts";
import { Daemon } from "../../daemon/index.ts";
import { bareServer } from "../support/bare-server.ts";
import { fakeConfig, openFakeDaemon } from "../support/fake-daemon.ts";
import { ask } from "../support/raw-http.ts";

interface Message {
  readonly event: string;
  readonly id: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  readonly data: any; // oxlint-disable-line typescript/no-explicit-any
}

class Listener implements Disposable {
  readonly messages: Message[] = [];
  isOver = false;
  readonly #request: ClientRequest;

  constructor(request: ClientRequest, response: IncomingMessage) {
    this.#request = request;
    let text = "";
    response.setEncoding("utf8").on("data", (chunk: string) => {
      const blocks = (text + chunk).split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
        if (fields.data !== undefined) this.messages.push({ ...fields, data: JSON.parse(fields.data) });
      }
    });
    const onOver = () => {
      this.isOver = true;
    };
    response.once("close", onOver).on("error", onOver);
    request.on("error", onOver);
  }

  get types(): string[] {
    return this.messages.map(({ event }) => event);
  }

  [Symbol.dispose](): void {
    this.#request.destroy();
  }
}

function listen(socketPath: string, query: string, lastEventId?: string): Promise<Listener> {
  const headers = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, path: `/v1/events?${query}`, headers, agent: false });
    request.once("error", reject);
    request.once("response", (response) => resolve(new Listener(request, response)));
    request.end();
  });
}

async function start() {
  const fake = await openFakeDaemon();
  onTestFinished(() => fake[Symbol.asyncDispose]());
  const { socket } = fake.daemon.place;
  return { ...fake, socket, open: (query = "", lastEventId?: string) => listen(socket, query, lastEventId) };
}

describe("the event stream", () => {
  it("begins with what there is, and goes on with what happens, in order", async () => {
    const { pool, open } = await start();
    const [first] = await pool.activate(1, { substrate: "fake" });
    using stream = await open("snapshot=1");
    await expect.poll(() => stream.types).toEqual(["snapshot"]);
    expect(stream.messages[0]?.data).toMatchObject({ vms: [{ id: first?.id }], docks: [], memory: {} });
    await first?.park();
    await first?.resume();
    await first?.extend(60_000);
    await first?.release();
    await expect.poll(() => stream.types).toEqual(["snapshot", "parked", "resumed", "extended", "released"]);
    const numbers = stream.messages.map(({ id = "" }) => Number(id.split("-")[1]));
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    expect(new Set(numbers).size).toBe(5);
    expect(stream.messages[1]?.data).toMatchObject({
      type: "parked",
      at: expect.any(String),
      data: { vm: { state: "parked" } },
    });
  });

  it("tells of operations from their beginning, without what they bring", async () => {
    const { pool, open } = await start();
    using stream = await open("types=operation,activated");
    await pool.activate(1, { substrate: "fake" });
    await expect.poll(() => stream.types.toSorted()).toEqual(["activated", "operation", "operation"]);
    const states = stream.messages.filter(({ event }) => event === "operation").map(({ data }) => data.data.operation);
    expect(states).toMatchObject([{ state: "running" }, { state: "succeeded", result: null }]);
  });

  it("continues after the event that was seen last", async () => {
    const { pool, open } = await start();
    const stream = await open("snapshot=1");
    const [vm] = await pool.activate(1, { substrate: "fake" });
    await expect.poll(() => stream.types).toContain("activated");
    await vm?.park();
    await expect.poll(() => stream.types).toContain("parked");
    const { id } = stream.messages.find(({ event }) => event === "parked") ?? {};
    stream[Symbol.dispose]();
    await vm?.resume();
    await vm?.release();
    using later = await open("snapshot=1", id);
    await expect.poll(() => later.types).toEqual(["resumed", "released"]);
    using filtered = await open("types=released", id);
    await expect.poll(() => filtered.types).toEqual(["released"]);
  });

  it.each(["nobody-1", "", "-", "x".repeat(5000), "__proto__-0"])(
    "begins anew, also unasked, after an event that nobody knows: %.20j",
    async (id) => {
      const { open } = await start();
      using stream = await open("", id);
      await expect.poll(() => stream.types).toEqual(["snapshot"]);
    },
  );

  it("begins anew with another daemon", async () => {
    const { pool, host, daemon, open } = await start();
    const stream = await open("snapshot=1");
    await pool.activate(1, { substrate: "fake" });
    await expect.poll(() => stream.types).toContain("activated");
    const id = stream.messages.at(-1)?.id;
    await daemon.stop();
    await expect.poll(() => stream.isOver).toBe(true);
    await using next = await Daemon.start(fakeConfig(host));
    using later = await listen(next.place.socket, "", id);
    await expect.poll(() => later.types).toEqual(["snapshot"]);
    expect(later.messages[0]?.data.vms).toHaveLength(1);
    await pool.close();
  });

  it("has only the types that are wanted, which must be known", async () => {
    const { pool, socket, open } = await start();
    using stream = await open("types=released");
    const [vm] = await pool.activate(1, { substrate: "fake" });
    await vm?.release();
    await expect.poll(() => stream.types).toEqual(["released"]);
    for (const types of ["typo", "released,", "toString", ""]) {
      expect((await ask(socket, { path: `/v1/events?types=${types}` })).json, types).toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
  });

  it("ticks every second for who wants it", async () => {
    const { open } = await start();
    using ticking = await open("stats=true");
    using silent = await open("");
    await expect.poll(() => ticking.types, { timeout: 5000 }).toContain("tick");
    expect(ticking.messages[0]).toMatchObject({ data: { second: { vms: 0, p50Ms: null }, memory: { clones: 0 } } });
    expect(ticking.messages[0]?.id).toBeUndefined();
    expect(silent.types).toEqual([]);
  });

  it("is given to 128 at a time, and to others when those are gone", async () => {
    const { socket, open } = await start();
    const streams = await Promise.all(Array.from({ length: 127 }, () => open()));
    // One is the client's own.
    const refused = await ask(socket, { path: "/v1/events" });
    expect(refused.json).toMatchObject({ status: 429, code: "RATE_LIMITED" });
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
    for (const stream of streams) stream[Symbol.dispose]();
    await expect.poll(async () => (await open()).isOver).toBe(false);
  });

  it("hangs up on a reader that does not read, and keeps no more for it than is allowed", async () => {
    await using undo = new AsyncDisposableStack();
    const events = new EventLog();
    const server = await bareServer(
      {},
      { events, stats: { listen: () => () => {} }, closing: new AbortController().signal },
    );
    undo.defer(() => server.close());
    await server.listen({ host: "127.0.0.1", port: 0 });
    const responses: ServerResponse[] = [];
    server.server.prependListener("request", (_request, response: ServerResponse) => responses.push(response));
    const port = Number(new URL(server.listeningOrigin).port);
    const slow = createConnection(port, "127.0.0.1").on("error", () => {});
    undo.defer(() => void slow.destroy());
    slow.pause();
    slow.write("GET /v1/events HTTP/1.1\r\nhost: a\r\n\r\n");
    await expect.poll(() => responses.length).toBe(1);
    const [response] = responses;
    let most = 0;
    const error = { type: "", title: "", status: 500, detail: "x".repeat(100_000), code: "TIMEOUT" };
    const call = { callId: "c", what: "activate", substrate: "mini", count: 1, error } as const;
    for (let i = 0; i < 500; i++) {
      if (response === undefined || response.destroyed) break;
      events.add("failed", call);
      most = Math.max(most, response.writableLength);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(response?.destroyed).toBe(true);
    expect(most).toBeGreaterThan(3e6);
    expect(most).toBeLessThan(5e6);
    events.add("failed", call);
  });
});
