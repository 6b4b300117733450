import { describe, expect, it } from "vitest";
import { ApiError } from "../../web/transport/api-error.ts";
import { backoffMs } from "../../web/transport/backoff.ts";
import { Client } from "../../web/transport/client.ts";
import { IdempotencyKey } from "../../web/transport/idempotency-key.ts";
import { forgetToken, isPlausibleToken, keepToken, keptToken, tokenInFragment } from "../../web/transport/token.ts";

describe("the token", () => {
  it.each([
    ["#token=abc", "abc"],
    ["#token=a%2Bb", "a+b"],
    ["#x=1&token=abc", "abc"],
    ["#token=", undefined],
    ["#vms", undefined],
    ["", undefined],
  ])("of the fragment %j is %j", (hash, token) => {
    expect(tokenInFragment(hash)).toBe(token);
  });

  it("is kept and forgotten", () => {
    const values = new Map<string, string>();
    const keep = {
      getItem: (key: string) => values.get(key) ?? null,
      setItem: (key: string, value: string) => void values.set(key, value),
      removeItem: (key: string) => void values.delete(key),
    };
    expect(keptToken(keep)).toBeUndefined();
    keepToken(keep, "abc");
    expect(keptToken(keep)).toBe("abc");
    forgetToken(keep);
    expect(keptToken(keep)).toBeUndefined();
  });

  it("is what a header can carry", () => {
    expect(["abc", "a b", "ä", "", "a\nb"].map(isPlausibleToken)).toEqual([true, false, false, false, false]);
  });
});

describe("the idempotency key", () => {
  it("stays while the same is asked for, and is another for anything else", () => {
    let made = 0;
    const key = new IdempotencyKey(() => `key-${++made}`);
    expect([key.for({ count: 1 }), key.for({ count: 1 }), key.for({ count: 2 })]).toEqual(["key-1", "key-1", "key-2"]);
  });

  it("is another after what was asked for was done", () => {
    const key = new IdempotencyKey();
    const first = key.for({ count: 1 });
    key.done();
    expect(key.for({ count: 1 })).not.toBe(first);
    expect(first).toMatch(/^page-[0-9a-f]{32}$/);
  });
});

describe("backoffMs", () => {
  it("doubles up to a bound, with chance, and is never nothing", () => {
    expect([1, 2, 3, 4, 5, 6, 20].map((failures) => backoffMs(failures, 1))).toEqual([
      500, 1000, 2000, 4000, 8000, 15_000, 15_000,
    ]);
    expect(backoffMs(9, 0)).toBe(100);
    expect(backoffMs(1, 0.5)).toBe(300);
  });
});

describe("the client", () => {
  function clientOf(answer: (url: string, init: RequestInit) => Response | Promise<Response>): Client {
    return new Client({ base: "", token: "secret", fetch: async (input, init) => answer(input as string, init ?? {}) });
  }

  it("sends the token in a header and nowhere else, and the key of a submission", async () => {
    const seen: [string, Headers][] = [];
    const client = clientOf((url, { headers }) => {
      seen.push([url, new Headers(headers)]);
      return Response.json({ outcomes: [] }, { status: 201 });
    });
    await client.activate({ spec: { substrate: "mini" } }, "key-1");
    const [[url, headers] = ["", new Headers()]] = seen;
    expect(url).toBe("/v1/vms?wait=30");
    expect(headers.get("authorization")).toBe("Bearer secret");
    expect(headers.get("idempotency-key")).toBe("key-1");
  });

  it("tells an operation from what is done", async () => {
    const client = clientOf(() => Response.json({ id: "op1" }, { status: 202 }));
    expect(await client.activate({ spec: { substrate: "mini" } }, "k")).toEqual({ operation: { id: "op1" } });
  });

  it("gives a problem's detail and code", async () => {
    const client = clientOf(() =>
      Response.json({ detail: "64 MiB were asked for", code: "MEMORY_EXHAUSTED" }, { status: 503 }),
    );
    await expect(client.park("vm1")).rejects.toMatchObject({
      message: "64 MiB were asked for",
      code: "MEMORY_EXHAUSTED",
      status: 503,
    });
  });

  it("has words for an answer that is no problem, and for none", async () => {
    await expect(clientOf(() => new Response("<html>", { status: 502 })).daemon()).rejects.toThrow(
      "The answer was 502",
    );
    const silent = clientOf(() => Promise.reject(new TypeError("failed to fetch")));
    await expect(silent.daemon()).rejects.toThrow(/does not answer/);
    await expect(silent.daemon()).rejects.toBeInstanceOf(ApiError);
  });

  it("takes a VM that is gone for released", async () => {
    const gone = clientOf(() => Response.json({ detail: "there is none", code: "NOT_FOUND" }, { status: 404 }));
    await expect(gone.release("vm1")).resolves.toBeUndefined();
    await expect(gone.park("vm1")).rejects.toThrow("there is none");
  });
});
