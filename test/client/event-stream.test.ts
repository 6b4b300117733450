import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { EventStream } from "../../client/event-stream.ts";
import { Http } from "../../client/http.ts";
import { connect } from "../../client/index.ts";

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

/** A server that plays a daemon's event stream. */
async function play(handler: Handler) {
  let count = 0;
  const at: number[] = [];
  const server = createServer((request, response) => {
    at.push(performance.now());
    handler(request, response, count++);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { origin, at };
}

async function open(handler: Handler) {
  const { origin, at } = await play(handler);
  const messages: [string, unknown][] = [];
  const lost: string[] = [];
  const http = new Http({ origin });
  onTestFinished(() => http[Symbol.asyncDispose]());
  const listener = {
    message: (type: string, data: unknown) => messages.push([type, data]),
    lost: (why: string) => lost.push(why),
  };
  const stream = await EventStream.open(http, {}, listener);
  onTestFinished(() => stream[Symbol.asyncDispose]());
  return { stream, messages, lost, at };
}

const begin = (response: ServerResponse) => response.writeHead(200, { "content-type": "text/event-stream" });
const event = (id: string, data: unknown) => `event: tick\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;

describe("a client's event stream", () => {
  it("comes back when it was cut, soon each time, and says what it has seen last", async () => {
    const ids: unknown[] = [];
    const { messages, lost, at } = await open((request, response, count) => {
      ids.push(request.headers["last-event-id"]);
      begin(response).write(event(`e-${count}`, count));
      // Cut in the middle of a body, as by a crash or a proxy.
      if (count < 6) setImmediate(() => response.socket?.resetAndDestroy());
    });
    await expect.poll(() => messages.length, { timeout: 5000 }).toBe(7);
    expect(messages.map(([, data]) => data)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(ids).toEqual([undefined, "e-0", "e-1", "e-2", "e-3", "e-4", "e-5"]);
    expect(lost).toHaveLength(6);
    // Each connection was made, so none is waited for longer than the one before.
    const pauses = at.slice(1).map((time, i) => time - (at[i] ?? 0));
    expect(Math.max(...pauses)).toBeLessThan(600);
  });

  it("waits longer and longer for one that refuses", async () => {
    const { at } = await open((_request, response, count) => {
      if (count === 0) begin(response).end();
      else response.writeHead(503).end();
    });
    await expect.poll(() => at.length, { timeout: 8000 }).toBe(5);
    const pauses = at.slice(1).map((time, i) => time - (at[i] ?? 0));
    expect(pauses[3]).toBeGreaterThan(pauses[0] ?? 0);
    expect(pauses[3]).toBeGreaterThan(350);
  });

  it("is put together from pieces, and goes on after a message that is none", async () => {
    const { messages, lost } = await open((_request, response, count) => {
      begin(response);
      if (count > 0) return void response.write(event("c", "after"));
      const bytes = Buffer.from(event("a", "wört"));
      for (let i = 0; i < bytes.length; i++) response.write(bytes.subarray(i, i + 1));
      response.write("event: tick\nid: b\ndata: {broken\n\n");
      return undefined;
    });
    await expect.poll(() => messages.map(([, data]) => data)).toEqual(["wört", "after"]);
    expect(lost).toHaveLength(1);
  });

  it("ends when it is disposed of, also while it waits", async () => {
    const { stream, at } = await open((_request, response) => void begin(response).end());
    await stream[Symbol.asyncDispose]();
    const before = at.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(at.length).toBe(before);
  });
});

describe("connecting", () => {
  it("to what is no daemon, or hangs up, is an error and leaves nothing that tries on", async () => {
    for (const handler of [
      (_request: IncomingMessage, response: ServerResponse) => void begin(response).end(),
      (_request: IncomingMessage, response: ServerResponse) => void response.writeHead(200).end("hello"),
      (_request: IncomingMessage, response: ServerResponse) => void response.writeHead(404).end("<html>"),
    ]) {
      const { origin, at } = await play(handler);
      await expect(connect({ url: origin })).rejects.toMatchObject({ name: "VmSubstrateError" });
      const before = at.length;
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(at.length).toBe(before);
    }
  });

  it("is ended by its signal, also when the daemon says nothing", async () => {
    const { origin } = await play((_request, response) => begin(response).flushHeaders());
    await expect(connect({ url: origin, signal: AbortSignal.timeout(200) })).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("wants what can be sent", async () => {
    const { origin } = await play((_request, response) => void response.end());
    await expect(connect({ url: origin, token: "a\r\nx: y" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(connect({ token: "x" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(connect({ url: "https://x" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(connect({ url: "http://127.0.0.1:1" })).rejects.toMatchObject({ code: "DAEMON_UNREACHABLE" });
  });
});
