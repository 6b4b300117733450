import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { ApiError } from "../../web/transport/api-error.ts";
import { EventStream } from "../../web/transport/event-stream.ts";

/** Ends with the test. */
let cleanup = new AsyncDisposableStack();
afterEach(async () => {
  await cleanup.disposeAsync();
  cleanup = new AsyncDisposableStack();
});

type Connection = (response: ServerResponse, request: IncomingMessage) => void;

/** A server on which the n-th connection is treated by the n-th function, and all later ones by the last. */
async function serve(...connections: readonly Connection[]) {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    connections[Math.min(requests.length, connections.length) - 1]?.(response, request);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanup.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/events`, requests };
}

/** A stream and all that it says. */
function follow(url: string, silenceMs?: number) {
  const heard: string[] = [];
  const errors: ApiError[] = [];
  const refused = Promise.withResolvers<ApiError>();
  let lives = 0;
  const waiters: { count: number; resolve: () => void }[] = [];
  const stream = new EventStream({
    url,
    token: "secret",
    random: () => 0,
    ...(silenceMs === undefined ? {} : { silenceMs }),
    onMessage({ event, data }) {
      heard.push(`${event} ${data}`);
      for (const { count, resolve } of waiters) if (heard.length >= count) resolve();
    },
    onLive: () => {
      lives += 1;
    },
    onWaiting: (_, error) => errors.push(error),
    onRefused: refused.resolve,
  });
  cleanup.defer(() => stream.close());
  return {
    stream,
    heard,
    errors,
    refused: refused.promise,
    get lives() {
      return lives;
    },
    messages: (count: number) =>
      new Promise<void>((resolve) => {
        if (heard.length >= count) resolve();
        else waiters.push({ count, resolve });
      }),
  };
}

const open = (response: ServerResponse) => response.writeHead(200, { "content-type": "text/event-stream" });
const send = (id: number) => `id: ${id}\nevent: tick\ndata: ${id}\n\n`;

describe("the event stream", () => {
  it("gives messages as they come, also in pieces and with letters that are cut in two", async () => {
    const { url, requests } = await serve((response) => {
      const bytes = Buffer.from("event: tick\ndata: größe\n\n");
      open(response).write(bytes.subarray(0, 21));
      setTimeout(() => response.write(bytes.subarray(21)), 5);
    });
    const { messages, heard } = follow(url);
    await messages(1);
    expect(heard).toEqual(["tick größe"]);
    expect(requests[0]?.headers.authorization).toBe("Bearer secret");
    expect(requests[0]?.headers["last-event-id"]).toBeUndefined();
    expect(requests[0]?.url).not.toContain("secret");
  });

  it("comes back after a connection that was cut, and says what it heard last", async () => {
    const { url, requests } = await serve(
      (response) => {
        open(response).write(`${send(1)}${send(2)}id: 3\nevent: tick\nda`);
        setTimeout(() => response.destroy(), 5);
      },
      (response) => open(response).write(send(3)),
    );
    const following = follow(url);
    await following.messages(3);
    expect(following.heard).toEqual(["tick 1", "tick 2", "tick 3"]);
    expect(requests[1]?.headers["last-event-id"]).toBe("2");
    expect(following.lives).toBe(2);
    expect(following.errors).toHaveLength(1);
  });

  it("comes back after an end in good order, after errors, and when nothing listens for a while", async () => {
    const { url } = await serve(
      (response) => open(response).end(send(1)),
      (response) => response.writeHead(503).end("busy"),
      (response) => response.destroy(),
      (response) => open(response).write(send(2)),
    );
    const { messages, errors } = follow(url);
    await messages(2);
    expect(errors.map(({ status }) => status)).toEqual([0, 503, 0]);
  });

  it("takes a connection that says nothing for dead", async () => {
    const { url } = await serve(
      (response) => void open(response).write(send(1)),
      (response) => void open(response).write(send(2)),
    );
    const { messages, errors } = follow(url, 50);
    await messages(2);
    expect(errors[0]?.message).toBe("The daemon said nothing for 0.05 s.");
  });

  it("stops at a token that is refused", async () => {
    const { url, requests } = await serve((response) =>
      response
        .writeHead(401, { "content-type": "application/problem+json" })
        .end(JSON.stringify({ detail: "unknown token", code: "UNAUTHENTICATED" })),
    );
    const { refused } = follow(url);
    expect(await refused).toMatchObject({ message: "unknown token", code: "UNAUTHENTICATED", status: 401 });
    expect(requests).toHaveLength(1);
  });

  it("hangs up when it is closed, and does not come back", async () => {
    const closed = Promise.withResolvers<void>();
    const { url, requests } = await serve((response) => {
      open(response).write(send(1));
      response.on("close", closed.resolve);
    });
    const { stream, messages, errors } = follow(url);
    await messages(1);
    stream.close();
    await closed.promise;
    expect(requests).toHaveLength(1);
    expect(errors).toEqual([]);
  });
});
