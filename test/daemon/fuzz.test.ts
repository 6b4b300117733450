import { Agent, request as httpRequest } from "node:http";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { problemSchema } from "../../api/index.ts";
import { ERROR_CODES } from "../../lib/index.ts";
import { type FakeDaemon, openFakeDaemon } from "../support/fake-daemon.ts";
import { leftovers } from "../support/nothing-left.ts";
import { ask } from "../support/raw-http.ts";

const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 20_000);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const BATCH = 64;
const MAX_MS = 300_000;
const ANSWER_MS = 90_000;

// biome-ignore lint/suspicious/noExplicitAny: a JSON document
type Json = any; // oxlint-disable-line typescript/no-explicit-any

interface Sent {
  readonly route: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string | string[]>;
  readonly body: string | Buffer | undefined;
}

const HOSTILE_TEXTS = [
  "",
  " ",
  "\0",
  "a\0b",
  "__proto__",
  "constructor",
  "toString",
  "../../etc/passwd",
  "%00",
  "%zz",
  "%ff%fe",
  "\ud800",
  "\u202e",
  "🦄".repeat(20),
  "x".repeat(300),
  "-oProxyCommand=x",
  "$(reboot)",
  "'; DROP TABLE vms; --",
  "null",
  "NaN",
  "1e309",
  "fake@99999999999999999999",
  "fake@-1",
  "{index}{index}",
  "a,b=c",
  "10.0.0.0/0",
  "::/0",
  "\r\nx: y",
];
const hostileText = fc.oneof(fc.constantFrom(...HOSTILE_TEXTS), fc.string({ unit: "binary", maxLength: 40 }));
const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  hostileText,
  fc.constantFrom<unknown>(null, true, false, [], {}, -1, 0, 1.5, 2 ** 31, 2 ** 53, -(2 ** 63), 1e300, [[[[]]]]),
  fc.jsonValue({ maxDepth: 3 }),
  fc.constant(JSON.parse(`${'{"a":'.repeat(200)}1${"}".repeat(200)}`)),
);

/** What matches a schema; now and then, what nearly does. */
function anyOf(schema: Json, all: Json, name = ""): fc.Arbitrary<unknown> {
  const right = rightOf(schema, all, name);
  return fc.oneof({ weight: 12, arbitrary: right }, { weight: 1, arbitrary: hostileValue });
}

function rightOf(schema: Json, all: Json, name: string): fc.Arbitrary<unknown> {
  if (schema === undefined || schema === true) return hostileValue;
  if (schema.$ref !== undefined) return anyOf(all[schema.$ref.split("/").at(-1)], all, name);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.const !== undefined) return fc.constant(schema.const);
  const options = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (options !== undefined) return fc.oneof(...options.map((one: Json) => anyOf(one, all, name)));
  switch (schema.type) {
    case "object": {
      const { properties = {}, required = [], additionalProperties } = schema;
      const fields: Record<string, fc.Arbitrary<unknown>> = {};
      for (const [key, value] of Object.entries<Json>(properties)) fields[key] = anyOf(value, all, key);
      const known = fc.record(fields, { requiredKeys: required.filter((key: string) => key in fields) });
      if (typeof additionalProperties !== "object") {
        const more = fc.dictionary(hostileText, hostileValue, { maxKeys: 1 });
        const withMore = fc.tuple(known, more).map(([a, b]) => ({ ...b, ...a }));
        return fc.oneof({ weight: 15, arbitrary: known }, { weight: 1, arbitrary: withMore });
      }
      const key = fc.oneof(fc.stringMatching(/^[a-z]{1,8}$/), hostileText);
      return fc.dictionary(key, anyOf(additionalProperties, all, name), { maxKeys: 3 });
    }
    case "array":
      return fc.array(anyOf(schema.items, all, name), { maxLength: 3 });
    case "integer":
    case "number":
      // Few VMs, and short waits: what is large is refused, or takes long for nothing.
      return fc.integer({ min: Math.max(schema.minimum ?? -2, -2), max: name === "count" ? 1 : 3 });
    case "boolean":
      return fc.boolean();
    default:
      return textOf(name);
  }
}

function textOf(name: string): fc.Arbitrary<string> {
  if (name === "substrate") return fc.constantFrom("nothing", "nothing@1", "fake@2", "none@latest", "fake");
  if (name === "recipe") return fc.constantFrom("nothing", "", "mini2");
  if (name === "recipeFile" || name === "file") return fc.constantFrom("/nowhere/a.yaml", "/proc/self/mem", "/");
  if (name === "path") return fc.constantFrom("/tmp/a", "relative", "/", "/etc/../x");
  if (name === "argv") return fc.constantFrom("true", "false", "hostname", "no-such-program");
  return fc.oneof(fc.stringMatching(/^[a-z0-9-]{1,12}$/), hostileText);
}

/** As it is put into an address: now and then not even encoded. */
function encoded(text: unknown, isRaw: boolean): string {
  const plain = typeof text === "string" ? text : (JSON.stringify(text) ?? "");
  if (!isRaw) return encodeURIComponent(plain.toWellFormed());
  return plain.replaceAll(/[^\x21-\x7e]|[#?]/g, (character) => `%${character.charCodeAt(0).toString(16).slice(-2)}`);
}

const hostileHeaders: fc.Arbitrary<Record<string, string | string[]>> = fc.oneof(
  { weight: 10, arbitrary: fc.constant({}) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Record<string, string | string[]>>(
      { "idempotency-key": "key-1" },
      { "idempotency-key": ["a", "b"] },
      { "x-request-id": ["request-1", "request-2"] },
      { "x-request-id": "__proto__" },
      { "last-event-id": "x-1" },
      { origin: "http://evil.example" },
      { accept: "text/html", "accept-encoding": "gzip;q=0" },
      { range: "bytes=0-0,5-" },
      { "if-none-match": "*" },
      { "content-encoding": "gzip" },
      { "transfer-encoding": "chunked" },
      { expect: "100-continue" },
      { upgrade: "h2c" },
      { host: "" },
      { "x-http-method-override": "DELETE" },
      { "x-forwarded-for": "127.0.0.1" },
      { cookie: "a=b" },
    ),
  },
);

function requestsOf(document: Json, ids: readonly string[]): fc.Arbitrary<Sent> {
  const all = document.components.schemas;
  // Streams do not end, and the machine is asked by tools of its own.
  const skipped = ["/v1/events", "/v1/doctor"];
  const routes = Object.entries<Json>(document.paths).filter(([path]) => !skipped.includes(path));
  const given = routes.flatMap(([path, methods]) =>
    Object.entries<Json>(methods).map(([method, { parameters = [], requestBody }]) => {
      const inPath = parameters.filter((one: Json) => one.in === "path");
      const inQuery = parameters.filter((one: Json) => one.in === "query");
      const id = (name: string) =>
        name === "id"
          ? fc.oneof(fc.constantFrom(...ids), fc.constantFrom("none", "host"), hostileText)
          : anyOf({}, all, name);
      const names = fc.tuple(
        ...inPath.map((one: Json) => (one.name === "id" ? id("id") : fc.oneof(textOf(one.name), hostileText))),
      );
      const query = fc.record(
        Object.fromEntries(
          inQuery.map((one: Json) => [
            one.name,
            one.name === "wait"
              ? fc.constantFrom("0", "0.05", "-1", "x")
              : one.name === "ready"
                ? fc.constantFrom("0", "-1", "1e9")
                : anyOf(one.schema, all, one.name),
          ]),
        ),
        { requiredKeys: [] },
      );
      const content = requestBody?.content ?? {};
      const json = content["application/json"];
      const body: fc.Arbitrary<string | Buffer | undefined> =
        json === undefined
          ? fc.constantFrom(undefined, "", "{}", Buffer.from([0xff, 0xfe, 0]))
          : fc.oneof(
              { weight: 20, arbitrary: anyOf(json.schema, all).map((value) => JSON.stringify(value)) },
              {
                weight: 1,
                arbitrary: fc.constantFrom(
                  "",
                  "{",
                  "[]",
                  '{"__proto__":{}}',
                  '{"a":\ud800}',
                  "[".repeat(5000),
                  Buffer.from('{"a":"\xff"}', "latin1"),
                ),
              },
            );
      const type = fc.oneof(
        { weight: 20, arbitrary: fc.constant(json === undefined ? "application/octet-stream" : "application/json") },
        {
          weight: 1,
          arbitrary: fc.constantFrom(
            "text/plain",
            "application/json; charset=latin1",
            "multipart/form-data",
            "",
            "a/b/c",
          ),
        },
      );
      return fc
        .record({ names, query, body, type, headers: hostileHeaders, isRaw: fc.integer({ min: 0, max: 19 }) })
        .map((one): Sent => {
          let i = 0;
          const isRaw = one.isRaw === 0;
          const address = path.replaceAll(/\{\w+\}/g, () => encoded(one.names[i++], isRaw));
          const search = Object.entries(one.query)
            .filter(([, value]) => value !== undefined)
            .map(([name, value]) => `${name}=${encoded(value, isRaw)}`)
            .join("&");
          const hasBody = one.body !== undefined && method !== "get";
          return {
            route: path,
            method: method.toUpperCase(),
            path: `${address}${search === "" ? "" : `?${search}`}`,
            headers: { ...(hasBody ? { "content-type": one.type } : {}), ...one.headers },
            body: hasBody ? one.body : undefined,
          };
        });
    }),
  );
  return fc.oneof(...given);
}

interface Answered {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

function send(socketPath: string, agent: Agent, { method, path, headers, body }: Sent): Promise<Answered | undefined> {
  return new Promise((resolve, reject) => {
    try {
      const request = httpRequest({ socketPath, agent, method, path, headers: { host: "localhost", ...headers } });
      // A guest that another request parks stands still in the middle of a call, which ends by its own deadline of a minute.
      request.setTimeout(ANSWER_MS, () => request.destroy(new Error(`no answer: ${method} ${path}`)));
      request.once("error", (error: NodeJS.ErrnoException) =>
        // A request that cannot be read to its end is answered, and its connection ended: the client may still be writing.
        error.code === "EPIPE" || error.code === "ECONNRESET" ? resolve(undefined) : reject(error),
      );
      request.once("response", (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        response.once("end", () =>
          resolve({ status: response.statusCode ?? 0, type: response.headers["content-type"] ?? "", text }),
        );
      });
      request.end(body);
    } catch {
      resolve(undefined); // Node's client does not send it
    }
  });
}

describe(`requests of all kinds (FUZZ_SEED=${SEED})`, () => {
  let fake: FakeDaemon;
  const faults: string[] = [];
  const onFault = (error: unknown) =>
    faults.push(error instanceof Error ? (error.stack ?? error.message) : String(error));

  beforeAll(async () => {
    fake = await openFakeDaemon({ memoryMiB: 400, parallelStarts: 2 });
    process.on("unhandledRejection", onFault).on("warning", onFault);
  });
  afterAll(async () => {
    process.off("unhandledRejection", onFault).off("warning", onFault);
    await fake[Symbol.asyncDispose]();
  });

  it(
    "are answered as the description says, and leave nothing",
    async () => {
      console.info(`FUZZ_SEED=${SEED}`);
      const { socket } = fake.daemon.place;
      const document = (await ask(socket, { path: "/openapi.json" })).json;
      const arbitrary = requestsOf(document, ["host-0", "host-0", "host-"]);
      const agent = new Agent({ keepAlive: true, maxSockets: 16 });
      const startedAt = performance.now();
      const statuses = new Map<number, number>();
      const failures = new Set<string>();
      let count = 0;
      for (let seed = SEED; count < REQUESTS && performance.now() - startedAt < MAX_MS; seed++) {
        const spec = { substrate: "fake", hostname: "host-0" };
        await ask(socket, { method: "POST", path: "/v1/vms", body: { spec } }); // where it is not there any more
        const batch = fc.sample(arbitrary, { numRuns: BATCH, seed });
        const answers = await Promise.all(batch.map((one) => send(socket, agent, one)));
        for (const [i, answer] of answers.entries()) check(document, batch[i] as Sent, answer);
        for (const answer of answers) {
          const status = answer?.status ?? 0;
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
          if (answer !== undefined && status >= 500) failures.add(`${status} ${answer.text.slice(0, 300)}`);
        }
        count += BATCH;
        const made = (await ask(socket, { path: "/v1/vms?limit=1000" })).json.items;
        // So that there is always room for some.
        const released = made.filter(({ hostname }: { hostname: string }) => hostname !== "host-0");
        await Promise.all(
          released.map(({ id }: { id: string }) => ask(socket, { method: "DELETE", path: `/v1/vms/${id}` })),
        );
      }
      agent.destroy();
      console.info(
        `${count} requests in ${Math.round(performance.now() - startedAt)} ms:`,
        Object.fromEntries(statuses),
      );
      if (process.env.FUZZ_SHOW !== undefined) console.info([...failures].join("\n"));
      expect(faults).toEqual([]);
      expect((await ask(socket, { path: "/healthz" })).json).toEqual({ ok: true });
      expect((statuses.get(200) ?? 0) + (statuses.get(201) ?? 0)).toBeGreaterThan(count / 50);
      await settle(socket);
      expect(await leftovers(fake.host.paths, { open: true })).toMatchObject({
        processes: [],
        vms: [],
        runtime: [],
        forks: [],
        staging: [],
      });
    },
    MAX_MS + ANSWER_MS + 60_000,
  );
});

function check(document: Json, sent: Sent, answer: Answered | undefined): void {
  if (answer === undefined) return;
  const what = `${sent.method} ${sent.path} ${JSON.stringify(sent.headers)} ${String(sent.body).slice(0, 500)} -> ${answer.status} ${answer.text.slice(0, 500)}`;
  const { status, type, text } = answer;
  if (status >= 200 && status < 300) {
    const responses = document.paths[sent.route]?.[sent.method.toLowerCase()]?.responses ?? {};
    // An address that lost or won a slash is another one.
    if (sent.path.split("?")[0]?.split("/").length === sent.route.split("/").length)
      expect(Object.keys(responses), what).toContain(String(status));
    return;
  }
  if (sent.route === "/readyz") return;
  expect(type, what).toMatch(/^application\/problem\+json/);
  const problem = problemSchema.parse(JSON.parse(text));
  expect(problem.status, what).toBe(status);
  expect(Object.keys(ERROR_CODES), what).toContain(problem.code);
  expect(problem.code, what).not.toBe("INTERNAL_ERROR");
}

/** Everything that was begun has ended, and everything that was made is taken away. */
async function settle(socket: string): Promise<void> {
  const { items } = (await ask(socket, { path: "/v1/operations?state=running&limit=1000" })).json;
  for (const { id } of items) {
    await ask(socket, { method: "DELETE", path: `/v1/operations/${id}` });
    await ask(socket, { path: `/v1/operations/${id}?wait=30` });
  }
  for (const { substrate, version, pinned } of (await ask(socket, { path: "/v1/docks" })).json) {
    await ask(socket, { method: "DELETE", path: `/v1/docks/${pinned ? `${substrate}@${version}` : substrate}` });
  }
  for (const { id } of (await ask(socket, { path: "/v1/vms?limit=1000" })).json.items) {
    await ask(socket, { method: "DELETE", path: `/v1/vms/${id}` });
  }
}
