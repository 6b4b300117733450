import { describe, expect, it } from "vitest";
import { problemSchema } from "../../api/index.ts";
import { problemOf, retryAfter } from "../../daemon/problem.ts";
import { ERROR_CODES, type ErrorCode, VmSubstrateError } from "../../lib/index.ts";

const CODES = Object.keys(ERROR_CODES) as ErrorCode[];

describe("a problem", () => {
  it.each(CODES)("of %s has a status of an error, a title and its text", (code) => {
    const problem = problemOf(new VmSubstrateError(code, "why", { details: { id: "x" } }), "request-1");
    expect(problemSchema.parse(problem)).toEqual(problem);
    expect(problem).toMatchObject({ code, detail: "why", title: ERROR_CODES[code], instance: "request-1" });
    expect(problem).toMatchObject({ type: `urn:vm-substrate:error:${code}`, details: { id: "x" } });
    expect(problem.status).toBeGreaterThanOrEqual(400);
    expect(problem.status).toBeLessThan(600);
  });

  it("of what is not ours says nothing of it", () => {
    const secret = "write abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJK";
    const foreign = [
      new TypeError(`cannot read ${secret}`),
      Object.assign(new Error(secret), { statusCode: 500 }),
      Object.assign(new Error(secret), { statusCode: "404" }),
      Object.assign(new Error(secret), { code: "NOT_FOUND", details: { secret } }),
      secret,
      null,
      undefined,
      { message: secret, toString: () => secret },
      new AggregateError([new Error(secret)], secret),
    ];
    for (const error of foreign) {
      const problem = problemOf(error, "id");
      expect(problem).toMatchObject({ code: "INTERNAL_ERROR", status: 500, instance: "id" });
      expect(JSON.stringify(problem)).not.toContain("abcdef");
    }
  });

  it("has no cause and no stack", () => {
    const problem = problemOf(new VmSubstrateError("HOST_IO_FAILED", "no", { cause: new Error("inner-secret") }));
    expect(JSON.stringify(problem)).not.toMatch(/inner-secret|\.ts:/);
  });

  it.each([
    [400, "REQUEST_REFUSED", 400],
    [404, "NOT_FOUND", 404],
    [413, "REQUEST_REFUSED", 413],
    [415, "REQUEST_REFUSED", 415],
    [429, "RATE_LIMITED", 429],
    [431, "REQUEST_REFUSED", 431],
  ] as const)("of a request that the framework refuses with %i is %s", (statusCode, code, status) => {
    expect(problemOf(Object.assign(new Error("too much"), { statusCode }))).toMatchObject({ code, status });
  });

  it("keeps details that JSON has not, or leaves them out", () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const given: readonly [Record<string, unknown>, unknown][] = [
      [{ bytes: 2n ** 40n }, { bytes: 2 ** 40 }],
      [{ why: new Error("inner") }, { why: "inner" }],
      [circle, undefined],
      [{ nothing: undefined }, undefined],
      [{ at: new Date(0) }, { at: "1970-01-01T00:00:00.000Z" }],
    ];
    for (const [details, shown] of given) {
      expect(problemOf(new VmSubstrateError("TIMEOUT", "late", { details })).details).toEqual(shown);
    }
  });

  it("says when another try may help", () => {
    const secondsFor = (code: ErrorCode, details = {}) =>
      retryAfter(problemOf(new VmSubstrateError(code, "", { details })));
    expect(secondsFor("INSUFFICIENT_MEMORY")).toBeGreaterThan(0);
    expect(secondsFor("RATE_LIMITED")).toBe(1);
    expect(secondsFor("LEASE_EXHAUSTED", { nextFreeMs: 12_001 })).toBe(13);
    expect(secondsFor("LEASE_EXHAUSTED", { nextFreeMs: 0 })).toBe(1);
    expect(secondsFor("INVALID_ARGUMENT")).toBeUndefined();
    expect(retryAfter({ type: "", title: "", status: 400, detail: "", code: "constructor" })).toBeUndefined();
  });
});
