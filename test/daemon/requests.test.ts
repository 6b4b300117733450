import { describe, expect, it, onTestFinished } from "vitest";
import type { VmView } from "../../api/index.ts";
import { openFakeDaemon } from "../support/fake-daemon.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { ask, type RawRequest } from "../support/raw-http.ts";

const SLEEP = { substrate: "fake", run: { argv: ["sleep", "100"] } };

async function start(more: Parameters<typeof openFakeDaemon>[0] = {}) {
  const fake = await openFakeDaemon(more);
  onTestFinished(() => fake[Symbol.asyncDispose]());
  const { socket } = fake.daemon.place;
  const send = (request: RawRequest) => ask(socket, request);
  const post = (path: string, body?: unknown, headers = {}) => send({ method: "POST", path, body, headers });
  const activate = async (spec: object = {}, count = 1): Promise<VmView[]> => {
    const { json } = await post("/v1/vms", { count, spec: { substrate: "fake", ...spec } });
    return json.outcomes.map(({ vm }: { vm: VmView }) => vm);
  };
  const stateOf = async (id: string) => (await send({ path: `/v1/operations/${id}` })).json?.state;
  const nothingLeft = () => expectNothingLeft(fake.host.paths, { open: true });
  return { ...fake, socket, send, post, activate, stateOf, nothingLeft };
}

describe("the list of VMs", () => {
  it("comes in pages, by labels, state and substrate, the oldest first", async () => {
    const { send, activate } = await start();
    const made: VmView[] = [];
    for (const labels of [{ match: "1" }, { match: "2", tier: "gold" }, { match: "1", tier: "free" }]) {
      made.push(...(await activate({ labels })));
    }
    const list = async (query: string): Promise<string[]> =>
      (await send({ path: `/v1/vms?${query}` })).json.items.map(({ id }: VmView) => id);
    const ids = made.map(({ id }) => id);
    expect(await list("")).toEqual(ids);
    expect(await list("labels=match=1")).toEqual([ids[0], ids[2]]);
    expect(await list(`labels=${encodeURIComponent("tier in (gold, free),match!=2")}`)).toEqual([ids[2]]);
    expect(await list("state=parked")).toEqual([]);
    expect(await list("substrate=fake@1&state=running")).toEqual(ids);
    expect(await list("substrate=other")).toEqual([]);
    const first = (await send({ path: "/v1/vms?limit=2" })).json;
    expect(first.items.map(({ id }: VmView) => id)).toEqual(ids.slice(0, 2));
    await send({ method: "DELETE", path: `/v1/vms/${ids[0]}` });
    const second = (await send({ path: `/v1/vms?limit=2&cursor=${first.next}` })).json;
    expect(second).toMatchObject({ items: [{ id: ids[2] }] });
    expect(second.next).toBeUndefined();
    expect((await send({ path: "/v1/vms?labels=!!" })).json.code).toBe("INVALID_ARGUMENT");
    expect((await send({ path: "/v1/vms?state=gone" })).json.code).toBe("INVALID_ARGUMENT");
  });

  it("has VMs by name, by a beginning, and tells the gone from those that never were", async () => {
    const { send, activate } = await start();
    const [one, two] = [...(await activate({ hostname: "red-1" })), ...(await activate({ hostname: "red-2" }))];
    const get = (name: string) => send({ path: `/v1/vms/${name}` });
    for (const name of [one?.id, "red-1", one?.id.slice(0, 10)]) {
      expect((await get(name ?? "")).json).toMatchObject({ id: one?.id, hostname: "red-1" });
    }
    expect((await get("red")).json).toMatchObject({ status: 400, code: "INVALID_ARGUMENT", details: { matches: 2 } });
    expect((await send({ method: "DELETE", path: "/v1/vms/red" })).status).toBe(400);
    for (const name of ["none", "__proto__", "constructor", "%2e%2e", "..%2f..", "%00", "a%20b", "<script>", "ü"]) {
      expect((await get(encodeURI(decodeURIComponent(name)))).status, name).toBeOneOf([400, 403, 404]);
    }
    expect((await send({ method: "DELETE", path: `/v1/vms/${two?.id}` })).status).toBe(204);
    for (const name of [two?.id, "red-2"]) {
      expect((await get(name ?? "")).json).toMatchObject({ status: 410, code: "VM_GONE" });
    }
    expect((await send({ method: "DELETE", path: `/v1/vms/${two?.id}` })).status).toBe(410);
    expect((await get("red")).json.id).toBe(one?.id);
  });
});

describe("work that takes long", () => {
  it("is an operation when nobody waits: 202, where to ask, and its end", async () => {
    const { send, post, pool } = await start();
    const accepted = await post("/v1/vms?wait=0", { spec: { substrate: "fake" } }, { "x-request-id": "my-operation" });
    expect(accepted).toMatchObject({ status: 202, json: { id: "my-operation", kind: "activate", state: "running" } });
    expect(accepted.headers).toMatchObject({ location: "/v1/operations/my-operation", "retry-after": "1" });
    const over = await send({ path: `${accepted.headers.location}?wait=20` });
    expect(over.json).toMatchObject({ state: "succeeded", error: null });
    await expect.poll(() => pool.vms[0]?.id).toBe(over.json.result.outcomes[0].vm.id);
    const listed = await send({ path: "/v1/operations?state=succeeded" });
    expect(listed.json.items.map(({ id }: { id: string }) => id)).toEqual(["my-operation"]);
    expect((await post("/v1/vms", { spec: { substrate: "fake" } }, { "x-request-id": "my-operation" })).status).toBe(
      409,
    );
    expect((await send({ path: "/v1/operations/nothing" })).status).toBe(404);
    expect((await send({ method: "DELETE", path: "/v1/operations/nothing" })).status).toBe(404);
  });

  it("is cancelled by DELETE, and undone", async () => {
    const { send, post, pool, nothingLeft } = await start();
    const { headers } = await post("/v1/vms?wait=0", { spec: SLEEP });
    const path = headers.location ?? "";
    await expect.poll(async () => (await send({ path: "/v1/memory" })).json.clones).toBeGreaterThanOrEqual(0);
    expect((await send({ method: "DELETE", path })).status).toBe(202);
    expect((await send({ path: `${path}?wait=20` })).json).toMatchObject({
      state: "cancelled",
      error: { code: "ABORTED" },
    });
    expect(pool.vms).toEqual([]);
    await nothingLeft();
  });

  it("is cancelled when its client hangs up, unless a key lets that ask again", async () => {
    const { send, post, pool, stateOf, nothingLeft } = await start();
    const hangUp = async (id: string, headers = {}) => {
      const leaving = new AbortController();
      const path = "/v1/vms?wait=60";
      const all = { "x-request-id": id, ...headers };
      const asked = send({ method: "POST", path, body: { spec: SLEEP }, headers: all, signal: leaving.signal });
      await expect.poll(() => stateOf(id)).toBe("running");
      leaving.abort();
      await expect(asked).rejects.toThrow();
    };
    await hangUp("without-key");
    await expect.poll(() => stateOf("without-key")).toBe("cancelled");
    await hangUp("with-a-key", { "idempotency-key": "k" });
    const again = post("/v1/vms?wait=60", { spec: SLEEP }, { "idempotency-key": "k", "x-request-id": "once-more" });
    await expect.poll(() => stateOf("once-more")).toBe("running");
    expect(await stateOf("with-a-key")).toBe("running");
    for (const id of ["with-a-key", "once-more"]) await send({ method: "DELETE", path: `/v1/operations/${id}` });
    expect((await again).json.code).toBe("ABORTED");
    await expect.poll(() => stateOf("with-a-key")).toBe("cancelled");
    expect(pool.vms).toEqual([]);
    await nothingLeft();
  });

  it.each([
    ["/v1/substrates/fake/export", { file: "out.tar.zst" }],
    ["/v1/import", { file: "./out.tar.zst" }],
    ["/v1/substrates", { recipeFile: "../web.yaml" }],
  ])("%s takes no path that would depend on where the daemon runs", async (path, body) => {
    const { post } = await start();
    expect((await post(`${path}?wait=30`, body)).json).toMatchObject({
      status: 400,
      code: "INVALID_ARGUMENT",
      detail: expect.stringContaining("absolute path"),
    });
  });

  it("is done once for one Idempotency-Key, whatever it is", async () => {
    const { send, post, activate, host } = await start();
    const [vm] = await activate();
    const file = `${host.paths.stateDir}/out.tar.zst`;
    const cases: [path: string, body: unknown, other: unknown][] = [
      ["/v1/substrates/fake/export?wait=30", { file }, { file: `${file}.2` }],
      ["/v1/import?wait=30", { file, name: "copy" }, { file, name: "copy2" }],
      ["/v1/scrub?wait=30", {}, { maxMiBPerSecond: 1 }],
      [`/v1/vms/${vm?.id}/fork?wait=30`, { count: 1 }, { count: 2 }],
      ["/v1/vms", { spec: { substrate: "fake" } }, { spec: { substrate: "fake" }, count: 2 }],
    ];
    for (const [path, body, other] of cases) {
      const headers = { "idempotency-key": `key of ${path}`.replaceAll(" ", "-").slice(0, 200) };
      const [one, two] = [await post(path, body, headers), await post(path, body, headers)];
      expect(one.status, `${path}: ${one.text}`).toBeOneOf([200, 201]);
      const plain = ({ text }: { text: string }) => text;
      expect(plain(two), path).toBe(plain(one));
      expect((await post(path, other, headers)).json, path).toMatchObject({
        status: 422,
        code: "IDEMPOTENCY_KEY_USED",
      });
    }
    expect((await send({ path: "/v1/vms" })).json.items).toHaveLength(3);
    for (const key of ["", " ", "a b", "x".repeat(201), "\xff"]) {
      const answer = await post("/v1/scrub", {}, { "idempotency-key": key });
      expect(answer.json.code, key).toBe("INVALID_ARGUMENT");
    }
  });

  it("says when to try again where there is no room", async () => {
    const { post } = await start({ memoryMiB: 1 });
    const answer = await post("/v1/vms", { count: 100, spec: { substrate: "fake" } });
    expect(answer.json).toMatchObject({ status: 503, code: "INSUFFICIENT_MEMORY" });
    expect(Number(answer.headers["retry-after"])).toBeGreaterThan(0);
  });

  it("names its call in the event of its failure", async () => {
    const { post, pool } = await start();
    const heard: string[] = [];
    pool.events.on("failed", ({ callId }) => heard.push(callId));
    const spec = { substrate: "fake", run: { argv: ["false"] } };
    await post("/v1/vms", { spec }, { "x-request-id": "request-1" });
    await expect(pool.activate(1, spec, { callId: "mine" })).rejects.toMatchObject({ code: "RUN_FAILED" });
    const [vm] = await pool.activate(1, { substrate: "fake" });
    await expect(vm?.fork(1, { run: { argv: ["false"] }, callId: "a fork".replace(" ", "-") })).rejects.toThrow();
    await expect.poll(() => heard).toEqual(["request-1", "mine", "a-fork"]);
    expect((await post("/v1/vms", { callId: "no spaces", spec })).json.code).toBe("INVALID_ARGUMENT");
    expect((await post("/v1/vms", { mode: "settled", coldBoot: true, spec })).json.code).toBe("INVALID_ARGUMENT");
  });
});

describe("a file of a VM", () => {
  it("is replaced by bytes only: nothing else empties it", async () => {
    const { send, activate } = await start();
    const [vm] = await activate();
    const path = `/v1/vms/${vm?.id}/files?path=/tmp/file`;
    const put = (body: string | undefined, type?: string) =>
      send({
        method: "PUT",
        path,
        ...(body === undefined ? {} : { body }),
        headers: type === undefined ? {} : { "content-type": type },
      });
    expect((await put("kept", "application/octet-stream")).status).toBe(204);
    for (const [body, type] of [
      ['{"a":1}', "application/json"],
      ["kept", "text/plain"],
      ["a=b", "application/x-www-form-urlencoded"],
    ] as const) {
      expect((await put(body, type)).json, type).toMatchObject({ status: 415, code: "REQUEST_REFUSED" });
    }
    expect((await send({ path })).text).toBe("kept");
    expect((await send({ path })).headers["content-type"]).toBe("application/octet-stream");
    expect((await put("", "application/octet-stream")).status).toBe(204);
    expect((await send({ path })).text).toBe("");
    expect((await send({ path: `/v1/vms/${vm?.id}/files?path=` })).json.code).toBe("INVALID_ARGUMENT");
  });
});

describe("docks and substrates", () => {
  it("are found by their names as the library knows them", async () => {
    const { send } = await start();
    const put = (name: string, body: object) => send({ method: "PUT", path: `/v1/docks/${name}`, body });
    expect((await put("fake", { min: 0, max: 1 })).json).toMatchObject({ pinned: false, max: 1 });
    expect((await put("fake@1", { min: 0, max: 2 })).json).toMatchObject({ pinned: true, max: 2 });
    const maxOf = async (name: string) => (await send({ path: `/v1/docks/${name}` })).json.max;
    expect([await maxOf("fake"), await maxOf("fake@latest"), await maxOf("fake@1")]).toEqual([1, 1, 2]);
    expect((await send({ path: "/v1/docks/fake@2" })).status).toBe(404);
    expect((await send({ method: "DELETE", path: "/v1/docks/fake" })).json).toEqual({ undocked: true });
    expect((await send({ path: "/v1/docks/fake" })).status).toBe(404);
    expect(await maxOf("fake@1")).toBe(2);
    for (const name of ["fake@2", "fake@latest@1", "fake@1@1", "@1", "fake@", "fake@01", "__proto__"]) {
      expect((await send({ path: `/v1/substrates/${name}` })).status, name).toBe(404);
    }
    expect((await send({ path: "/v1/substrates/fake@latest" })).json).toMatchObject({ name: "fake", version: 1 });
  });
});
