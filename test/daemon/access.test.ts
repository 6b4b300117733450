import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readTokens } from "../../daemon/index.ts";
import { type FakeDaemon, openFakeDaemon } from "../support/fake-daemon.ts";
import { ask, type RawAnswer, speak } from "../support/raw-http.ts";

let fake: FakeDaemon;
let port: number;
let socket: string;
let read: string;
let write: string;

beforeAll(async () => {
  fake = await openFakeDaemon({
    listen: { tcp: "127.0.0.1:0", hosts: ["vm.example:7070"], requestsPerSecond: 100_000 },
  });
  port = Number(new URL(fake.daemon.url ?? "").port);
  ({ socket } = fake.daemon.place);
  const tokens = await readTokens(fake.daemon.place.tokens);
  [read, write] = tokens.map(({ token }) => `Bearer ${token}`) as [string, string];
});
afterAll(() => fake[Symbol.asyncDispose]());

const NOTHING = { method: "DELETE", path: "/v1/vms/nothing" } as const;

function expectProblem(answer: RawAnswer, status: number, code: string): void {
  expect({ status: answer.status, code: answer.json?.code }).toEqual({ status, code });
  expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
  expect(answer.json.status).toBe(status);
}

describe("over TCP", () => {
  it.each(["/v1", "/v1/", "/v1/vms", "/v1/nowhere", "/v1/events", "/metrics"])("%s wants a token", async (path) => {
    const answer = await ask(port, { path });
    expectProblem(answer, 401, "UNAUTHENTICATED");
    expect(answer.headers["www-authenticate"]).toMatch(/^Bearer /);
  });

  it.each(["/healthz", "/openapi.json", "/readyz"])("%s is for everybody", async (path) => {
    expect((await ask(port, { path })).status).toBe(200);
  });

  it.each(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])(
    "%s without a token does nothing",
    async (method) => {
      expect((await ask(port, { method, path: "/v1/vms" })).status).toBe(401);
    },
  );

  it("a read token reads and a write token writes", async () => {
    expect((await ask(port, { path: "/v1/vms", headers: { authorization: read } })).status).toBe(200);
    expect((await ask(port, { path: "/metrics", headers: { authorization: read } })).status).toBe(200);
    expect((await ask(port, { path: "/v1", headers: { authorization: read } })).json.scope).toBe("read");
    expect((await ask(port, { path: "/v1", headers: { authorization: write } })).json.scope).toBe("write");
    expectProblem(await ask(port, { ...NOTHING, headers: { authorization: write } }), 404, "NOT_FOUND");
  });

  it("a read token changes nothing", async () => {
    const { paths } = (await ask(port, { path: "/openapi.json" })).json;
    const writing = Object.entries<object>(paths).flatMap(([path, methods]) =>
      Object.keys(methods).flatMap((method) => (method === "get" ? [] : [{ path, method: method.toUpperCase() }])),
    );
    expect(writing.length).toBeGreaterThan(15);
    for (const { path, method } of writing) {
      const request = { method, path: path.replaceAll(/\{\w+\}/g, "fake"), headers: { authorization: read } };
      expectProblem(await ask(port, request), 403, "FORBIDDEN");
    }
    const upgrade = { connection: "upgrade", upgrade: "websocket", "sec-websocket-version": "13" };
    const session = {
      path: "/v1/vms/fake/session",
      headers: { ...upgrade, "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" },
    };
    const refused = await ask(port, { ...session, headers: { ...session.headers, authorization: read } });
    expectProblem(refused, 403, "FORBIDDEN");
    expectProblem(await ask(port, session), 401, "UNAUTHENTICATED");
  });

  it("takes Authorization in one form only", async () => {
    const token = write.slice("Bearer ".length);
    const odd = [
      "",
      token,
      `Bearer  ${token}`,
      `Bearer ${token} x`,
      `Basic ${Buffer.from(`:${token}`).toString("base64")}`,
      `Bearer "${token}"`,
      `Bearer ${token.toUpperCase()}`,
      `Bearer ${token}=`,
      `Bearer ${token}\t`,
      "Bearer",
      "Bearer ",
      `Bearer ${"x".repeat(4000)}`,
      `Bearer ${token},Bearer ${token}`,
      "Bearer undefined",
      "Bearer __proto__",
    ];
    for (const authorization of odd) {
      const { status } = await ask(port, { ...NOTHING, headers: { authorization } });
      // The parser takes blanks off the end before anybody sees them.
      expect(status, authorization).toBe(authorization.trim() === write ? 404 : 401);
    }
    expect((await ask(port, { ...NOTHING, headers: { authorization: `bearer ${token}` } })).status).toBe(404);
    const inQuery = await ask(port, { path: `/v1/vms?access_token=${token}&token=${token}` });
    expect(inQuery.status).toBe(401);
    const inCookie = await ask(port, { path: "/v1/vms", headers: { cookie: `token=${token}` } });
    expect(inCookie.status).toBe(401);
  });

  it("takes only hosts that are its own, whoever asks: names that were bound to this address anew are not", async () => {
    const to = (host: string) => ask(port, { path: "/v1/vms", headers: { host, authorization: write } });
    for (const host of [
      `127.0.0.1:${port}`,
      `localhost:${port}`,
      `LOCALHOST:${port}`,
      `[::1]:${port}`,
      "vm.example:7070",
    ]) {
      expect((await to(host)).status, host).toBe(200);
    }
    const foreign = [
      "evil.example",
      `evil.example:${port}`,
      "127.0.0.1",
      `127.0.0.1:${port + 1}`,
      `127.0.0.1.:${port}`,
      `localhost.evil.example:${port}`,
      `user@localhost:${port}`,
      `0x7f.1:${port}`,
      `127.0.0.1:0${port}`,
      "vm.example",
      "x".repeat(1000),
    ];
    for (const host of foreign) expectProblem(await to(host), 403, "FORBIDDEN");
    for (const path of ["/", "/healthz", "/openapi.json", "/index.html"]) {
      expectProblem(await ask(port, { path, headers: { host: `evil.example:${port}` } }), 403, "FORBIDDEN");
    }
  });

  it("refuses a request without a host, or with two", async () => {
    for (const hosts of [
      "",
      `host: localhost:${port}\r\nhost: evil.example\r\n`,
      `host: evil.example\r\nhost: localhost:${port}\r\n`,
    ]) {
      const text = await speak(
        port,
        `GET /v1/vms HTTP/1.1\r\n${hosts}connection: close\r\nauthorization: ${read}\r\n\r\n`,
      );
      if (hosts.startsWith("host: localhost")) {
        // The first counts, as everywhere in Node; the second is thrown away.
        expect(text).toMatch(/^HTTP\/1\.1 (200|400)/);
        continue;
      }
      expect(text).toMatch(/^HTTP\/1\.1 40[03] /);
      expect(text).toMatch(/"code":"(REQUEST_REFUSED|FORBIDDEN)"/);
    }
  });

  it("refuses other origins, and answers no preflight", async () => {
    const from = (origin: string, method = "GET", host = `localhost:${port}`) =>
      ask(port, { method, path: "/v1/vms", headers: { host, origin, authorization: write } });
    for (const origin of [
      "http://evil.example",
      "null",
      `http://localhost:${port + 1}`,
      `http://127.0.0.1:${port}`,
      `http://localhost:${port}.evil.example`,
      `http://localhost:${port}/`,
      `ftp://localhost:${port}`,
      "",
      "file://",
    ]) {
      const answer = await from(origin);
      expectProblem(answer, 403, "FORBIDDEN");
      expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
    expect((await from(`http://localhost:${port}`)).status).toBe(200);
    expect((await from(`http://LocalHost:${port}`)).status).toBe(200);
    // Behind a proxy that speaks TLS and hands on the name by which it was asked.
    expect((await from("https://vm.example:7070", "GET", "vm.example:7070")).status).toBe(200);
    const preflight = await ask(port, {
      method: "OPTIONS",
      path: "/v1/vms",
      headers: { origin: "http://evil.example", "access-control-request-method": "POST" },
    });
    expectProblem(preflight, 403, "FORBIDDEN");
    expect(preflight.headers["access-control-allow-origin"]).toBeUndefined();
  });

  it("a page of another origin opens no WebSocket", async () => {
    const upgrade = [
      "GET /v1/vms/fake/session HTTP/1.1",
      `host: localhost:${port}`,
      "connection: upgrade",
      "upgrade: websocket",
      "sec-websocket-version: 13",
      "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
      "origin: http://evil.example",
      `authorization: ${write}`,
    ];
    const text = await speak(port, `${upgrade.join("\r\n")}\r\n\r\n`, (one) => void setTimeout(() => one.end(), 300));
    expect(text).toMatch(/^HTTP\/1\.1 403 /);
    expect(text).toContain('"code":"FORBIDDEN"');
  });

  it.each([
    ["POST", "/v1/substrates", { recipeFile: "/etc/passwd" }],
    ["POST", "/v1/substrates/fake/export", { file: "/tmp/out" }],
    ["POST", "/v1/import", { file: "/etc/passwd" }],
  ])("%s %s takes no path of this machine", async (method, path, body) => {
    expectProblem(await ask(port, { method, path, body, headers: { authorization: write } }), 403, "FORBIDDEN");
  });

  it("says of docks that are broken only to who may ask that there are any", async () => {
    const { json } = await ask(port, { path: "/readyz" });
    expect(json).toEqual({ ready: true });
  });

  it.each([
    "/../../../etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/....//....//etc/passwd",
    "/assets/..%5c..%5cpackage.json",
    "//etc/passwd",
    "/.git/config",
    "/%00",
    "/index.html%00.js",
  ])("serves no other file by %s", async (path) => {
    const text = await speak(port, `GET ${path} HTTP/1.1\r\nhost: localhost:${port}\r\nconnection: close\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(text).not.toContain("root:");
    expect(text).toContain('"code":');
  });
});

describe("through the socket", () => {
  it("everything is allowed without a token", async () => {
    expect((await ask(socket, { path: "/v1" })).json.scope).toBe("write");
    expectProblem(await ask(socket, NOTHING), 404, "NOT_FOUND");
    expect((await ask(socket, { path: "/v1", headers: { host: "anything" } })).status).toBe(200);
  });

  it("a web page is refused, however it got there", async () => {
    for (const origin of ["http://localhost", "null", ""]) {
      expectProblem(await ask(socket, { path: "/v1/vms", headers: { origin } }), 403, "FORBIDDEN");
    }
  });
});

describe("a token's guesses", () => {
  it("are slowed down, as every request is: 429, and when to come back", async () => {
    await using slow = await openFakeDaemon({ listen: { tcp: "127.0.0.1:0", requestsPerSecond: 5 } });
    const at = Number(new URL(slow.daemon.url ?? "").port);
    for (const path of ["/v1/vms", "/v1/nowhere", "/healthz", "/openapi.json", "/"]) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          ask(at, { path, headers: { authorization: `Bearer ${"x".repeat(43)}${i}` } }),
        ),
      );
      const limited = answers.filter(({ status }) => status === 429);
      expect(limited.length, path).toBeGreaterThan(5);
      for (const one of limited) {
        expectProblem(one, 429, "RATE_LIMITED");
        expect(Number(one.headers["retry-after"])).toBeGreaterThan(0);
      }
    }
    // Who has the socket is not limited by those of the network.
    const own = await Promise.all(Array.from({ length: 20 }, () => ask(slow.daemon.place.socket, { path: "/v1/vms" })));
    expect(own.map(({ status }) => status)).toEqual(own.map(() => 200));
  });
});
