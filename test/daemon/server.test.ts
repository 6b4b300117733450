import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bareServer } from "../support/bare-server.ts";
import { type FakeDaemon, openFakeDaemon } from "../support/fake-daemon.ts";
import { ask, type RawAnswer, speak } from "../support/raw-http.ts";

let fake: FakeDaemon;
let socket: string;

beforeAll(async () => {
  fake = await openFakeDaemon();
  ({ socket } = fake.daemon.place);
});
afterAll(() => fake[Symbol.asyncDispose]());

function portOf(address: unknown): number {
  if (typeof address === "object" && address !== null && "port" in address) return Number(address.port);
  throw new Error("it does not listen");
}

function expectProblem({ status, json, headers }: RawAnswer, expected: number, code: string): void {
  expect({ status, code: json?.code }).toEqual({ status: expected, code });
  expect(headers["content-type"]).toMatch(/^application\/problem\+json/);
}

describe("a request that cannot be read", () => {
  it.each([
    [
      "too large",
      413,
      { body: `{"argv":["${"x".repeat(2 * 1024 ** 2)}"]}`, type: "application/json", path: "/v1/prune" },
    ],
    ["of another type", 415, { body: "<a/>", type: "application/xml" }],
    ["a form", 415, { body: "a=1", type: "application/x-www-form-urlencoded" }],
    ["plain text", 415, { body: "{}", type: "text/plain" }],
    ["of a type that is none", 415, { body: "{}", type: ";;;" }],
    ["not JSON", 400, { body: "{", type: "application/json" }],
    ["empty JSON", 400, { body: "", type: "application/json" }],
    ["JSON with a prototype", 400, { body: '{"__proto__":{"a":1}}', type: "application/json" }],
  ] as const)("is refused: %s, %i", async (_name, status, { body, type, ...more }) => {
    const path = "path" in more ? more.path : "/v1/vms";
    const answer = await ask(socket, { method: "POST", path, body, headers: { "content-type": type } });
    expectProblem(answer, status, "REQUEST_REFUSED");
  });

  it.each([
    ["not HTTP", "HELLO\r\n\r\n", 400],
    ["of an unknown method", "FOO /v1 HTTP/1.1\r\nhost: a\r\n\r\n", 400],
    ["a head that is too large", `GET /v1 HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(20_000)}\r\n\r\n`, 431],
    ["two lengths", "POST /v1/gc HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", 400],
    [
      "length and chunks",
      "POST /v1/gc HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["a line folded", "GET /v1 HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n", 400],
    ["a NUL in its head", "GET /v1 HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", 400],
    ["no host", "GET /v1 HTTP/1.1\r\nconnection: close\r\n\r\n", 400],
    ["bad percent signs", "GET /v1/vms/%zz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400],
    [
      "a parameter that is too long",
      `GET /v1/vms/${"x".repeat(500)} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`,
      414,
    ],
    ["an expectation", "POST /v1/gc HTTP/1.1\r\nhost: a\r\nexpect: magic\r\nconnection: close\r\n\r\n", 417],
  ])("is refused with a problem: %s", async (_name, bytes, status) => {
    const text = await speak(socket, bytes);
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(text.toLowerCase()).toContain("content-type: application/problem+json");
    const [, body = ""] = text.split("\r\n\r\n");
    expect(JSON.parse(body)).toMatchObject({ code: "REQUEST_REFUSED", status });
  });

  it.each([
    ["a head", "GET /v1 HTTP/1.1\r\nhost: a\r\nx: "],
    ["a body", "POST /v1/gc HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{"],
  ])("is ended when it comes too slowly: %s", async (_name, bytes) => {
    await using undo = new AsyncDisposableStack();
    const server = await bareServer({ headTimeoutMs: 100, requestTimeoutMs: 200 });
    undo.defer(() => server.close());
    await server.listen({ host: "127.0.0.1", port: 0 });
    const text = await speak(portOf(server.addresses()[0]), bytes);
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(text).toContain('"code":"REQUEST_REFUSED"');
  });
});

describe("a request", () => {
  it("keeps its id, when that is one, and has it in what it is answered", async () => {
    const given = await ask(socket, { path: "/v1/vms/none", headers: { "x-request-id": "my-request_17" } });
    expect(given.headers["x-request-id"]).toBe("my-request_17");
    expect(given.json.instance).toBe("my-request_17");
    for (const id of ["short", "x".repeat(65), "a/../../b-b-b", "eight !!", "<script>xx", "__proto__\u00e9"]) {
      const answer = await ask(socket, { path: "/v1/vms/none", headers: { "x-request-id": id } });
      expect(answer.headers["x-request-id"], id).toMatch(/^[a-z0-9]{12}$/);
    }
  });

  it("of an unknown address or method is 404", async () => {
    for (const [method, path] of [
      ["GET", "/v2"],
      ["GET", "/v1/nothing"],
      ["PATCH", "/v1/vms"],
      ["TRACE", "/v1/vms"],
      ["POST", "/v1/vms/x/explode"],
      ["PROPFIND", "/v1"],
      ["HEAD", "/v1/events"],
    ] as const) {
      const answer = await ask(socket, { method, path });
      expect(answer.status, `${method} ${path}`).toBe(404);
      if (method !== "HEAD") expect(answer.json.code).toBe("NOT_FOUND");
    }
  });

  it("HEAD is GET without its body", async () => {
    const answer = await ask(socket, { method: "HEAD", path: "/v1/vms" });
    expect(answer).toMatchObject({ status: 200, text: "" });
    expect(Number(answer.headers["content-length"])).toBeGreaterThan(0);
  });

  it("of an unknown field, in body or query, is refused by name", async () => {
    const typo = await ask(socket, { method: "POST", path: "/v1/vms", body: { spec: { substrate: "fake" }, typo: 1 } });
    expectProblem(typo, 400, "INVALID_ARGUMENT");
    expect(typo.json.detail).toContain("typo");
    expectProblem(await ask(socket, { path: "/v1/vms?typo=1" }), 400, "INVALID_ARGUMENT");
    expectProblem(await ask(socket, { path: "/v1/vms?limit=0" }), 400, "INVALID_ARGUMENT");
    expectProblem(await ask(socket, { path: "/v1/vms?limit=1&limit=2" }), 400, "INVALID_ARGUMENT");
    expectProblem(await ask(socket, { path: "/v1/vms?cursor=%%%" }), 400, "INVALID_ARGUMENT");
  });

  it("is never kept by a cache, and never sniffed", async () => {
    for (const path of ["/v1/vms", "/v1/none", "/metrics", "/openapi.json"]) {
      const { headers } = await ask(socket, { path });
      expect(headers).toMatchObject({ "cache-control": "no-store", "x-content-type-options": "nosniff" });
    }
  });

  it("that wants to become what there is not is answered as it is, with its body", async () => {
    for (const upgrade of ["h2c", "websocket", "tls/1.3"]) {
      const headers = { connection: "upgrade", upgrade, "content-type": "application/json" };
      const signal = AbortSignal.timeout(3000);
      const put = await ask(socket, { method: "PUT", path: "/v1/docks/nothing", body: { min: 1 }, headers, signal });
      expect(put.json, upgrade).toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
      expect(
        (await ask(socket, { path: "/healthz", headers: { connection: "upgrade", upgrade }, signal })).status,
      ).toBe(200);
    }
  });

  it("may be sent over one connection, many times, and leaves nothing with it", async () => {
    const warnings: string[] = [];
    const onWarning = ({ name }: Error) => warnings.push(name);
    process.on("warning", onWarning);
    const ping = `GET /v1/operations/none?wait=1 HTTP/1.1\r\nhost: a\r\n\r\n`;
    const gc = `POST /v1/scrub?wait=5 HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`;
    const text = await speak(socket, `${ping}${gc}`.repeat(20), (one) => void setTimeout(() => one.end(), 1500));
    process.off("warning", onWarning);
    expect(text.match(/HTTP\/1\.1 200 /g)).toHaveLength(20);
    expect(warnings).toEqual([]);
  });
});
