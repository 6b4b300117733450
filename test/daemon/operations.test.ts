import { afterEach, describe, expect, it, vi } from "vitest";
import { type Operation, Operations, type Work } from "../../daemon/operations.ts";
import { VmSubstrateError } from "../../lib/index.ts";

const never = new AbortController().signal;

/** Work that ends when it is told to, or when it is cancelled. */
function work(id: string, more: Partial<Work<string>> = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let report: (progress: object) => void = () => {};
  const given: Work<string> = {
    id,
    kind: "build",
    run: (signal, onProgress) => {
      report = onProgress;
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      return promise;
    },
    ...more,
  };
  return { given, end: resolve, fail: reject, report: (progress: object) => report(progress) };
}

function open() {
  const heard: Operation[] = [];
  return { heard, operations: new Operations((operation) => heard.push(operation)) };
}

afterEach(() => void vi.useRealTimers());

describe("an operation", () => {
  it("goes on until it ends, and says how", async () => {
    const { operations, heard } = open();
    const one = work("operation-1");
    const operation = operations.start(one.given);
    expect(operation.view()).toMatchObject({ id: "operation-1", kind: "build", state: "running", endedAt: null });
    expect(await operation.over(0, never)).toBe(false);
    one.report({ step: "boot" });
    expect(operation.view().progress).toEqual({ step: "boot" });
    one.end("done");
    expect(await operation.over(1000, never)).toBe(true);
    expect(operation.view()).toMatchObject({ state: "succeeded", result: "done", error: null });
    one.report({ step: "late" });
    expect(operation.view().progress).toEqual({ step: "boot" });
    expect(heard.length).toBe(3); // begun, progress, ended
  });

  it("that fails has a problem, with nothing foreign in it", async () => {
    const { operations } = open();
    const [ours, foreign] = [work("operation-1"), work("operation-2")];
    const started = [operations.start(ours.given), operations.start(foreign.given)];
    ours.fail(new VmSubstrateError("BUILD_FAILED", "no kernel"));
    foreign.fail(new TypeError("secret"));
    await Promise.all(started.map((one) => one.over(1000, never)));
    expect(operations.get("operation-1")?.view()).toMatchObject({ state: "failed", error: { code: "BUILD_FAILED" } });
    expect(JSON.stringify(operations.get("operation-2")?.view())).not.toContain("secret");
  });

  it("that throws at once fails as well", async () => {
    const { operations } = open();
    const run = () => {
      throw new VmSubstrateError("RECIPE_UNKNOWN", "none");
    };
    const operation = operations.start({ id: "operation-1", kind: "build", run });
    expect(await operation.over(1000, never)).toBe(true);
    expect(operation.view().state).toBe("failed");
  });

  it("is cancelled, once", async () => {
    const { operations } = open();
    const operation = operations.start(work("operation-1").given);
    operation.cancel();
    operation.cancel();
    expect(await operation.over(1000, never)).toBe(true);
    expect(operation.view()).toMatchObject({ state: "cancelled", error: { code: "ABORTED" } });
    operation.cancel();
    expect(operation.view().state).toBe("cancelled");
  });

  it("is waited for only as long as somebody listens", async () => {
    const { operations } = open();
    const operation = operations.start(work("operation-1").given);
    expect(await operation.over(60_000, AbortSignal.abort())).toBe(false);
    const listening = new AbortController();
    const over = operation.over(60_000, listening.signal);
    listening.abort();
    expect(await over).toBe(false);
    operation.cancel();
  });
});

describe("idempotency keys of operations", () => {
  it("give the same operation for the same request", async () => {
    const { operations } = open();
    const one = work("operation-1", { key: "k", request: { name: "a" } });
    const first = operations.start(one.given);
    expect(operations.start(work("operation-2", { key: "k", request: { name: "a" } }).given)).toBe(first);
    one.end("done");
    await first.over(1000, never);
    expect(operations.start(work("operation-3", { key: "k", request: { name: "a" } }).given)).toBe(first);
    expect(operations.all).toHaveLength(1);
  });

  it("are refused for another request, or another kind of it", () => {
    const { operations } = open();
    operations.start(work("operation-1", { key: "k", request: { name: "a" } }).given);
    const used = expect.objectContaining({ code: "IDEMPOTENCY_KEY_USED" });
    expect(() => operations.start(work("operation-2", { key: "k", request: { name: "b" } }).given)).toThrow(used);
    const otherKind = work("operation-3", { key: "k", kind: "scrub", request: { name: "a" } });
    expect(() => operations.start(otherKind.given)).toThrow(used);
    for (const operation of operations.all) operation.cancel();
  });

  it("are free again after a failure", async () => {
    const { operations } = open();
    const one = work("operation-1", { key: "k" });
    const first = operations.start(one.given);
    one.fail(new VmSubstrateError("BUILD_FAILED", "no"));
    await first.over(1000, never);
    const again = operations.start(work("operation-2", { key: "k" }).given);
    expect(again).not.toBe(first);
    again.cancel();
  });

  it("may be names of an object's prototype", () => {
    const { operations } = open();
    for (const key of ["__proto__", "constructor", "toString"]) {
      operations.start(work(`operation-${key}`, { key, request: key }).given).cancel();
    }
    expect(operations.all).toHaveLength(3);
  });
});

describe("all operations", () => {
  it("refuse an id that is taken", () => {
    const { operations } = open();
    operations.start(work("operation-1").given);
    expect(() => operations.start(work("operation-1").given)).toThrow(
      expect.objectContaining({ code: "REQUEST_REFUSED", details: { status: 409 } }),
    );
    operations.get("operation-1")?.cancel();
  });

  it("are at most 256 at a time", async () => {
    const { operations } = open();
    for (let i = 0; i < 256; i++) operations.start(work(`operation-${i}`).given);
    expect(() => operations.start(work("one-more").given)).toThrow(expect.objectContaining({ code: "RATE_LIMITED" }));
    operations.get("operation-0")?.cancel();
    await operations.get("operation-0")?.over(1000, never);
    operations.start(work("one-more").given);
    for (const operation of operations.all) operation.cancel();
  });

  it("are forgotten an hour after their end, and beyond a thousand", async () => {
    vi.useFakeTimers();
    const { operations } = open();
    const run = async () => "done";
    for (let i = 0; i < 1100; i++) {
      await operations.start({ id: `operation-${i}`, kind: "build", key: `key-${i}`, run }).result;
    }
    expect(operations.all.length).toBeLessThanOrEqual(1001);
    expect(operations.get("operation-0")).toBeUndefined();
    expect(operations.get("operation-1099")).toBeDefined();
    vi.advanceTimersByTime(3_600_001);
    const later = operations.start({ id: "later", kind: "build", key: "key-1099", run });
    expect(later.id).toBe("later");
    expect(operations.all).toEqual([later]);
  });

  it("end when they are drained: those that can by themselves, the others cancelled", async () => {
    const { operations } = open();
    const [quick, slow] = [work("operation-1"), work("operation-2")];
    operations.start(quick.given);
    operations.start(slow.given);
    const drained = operations.drain(50);
    quick.end("done");
    await drained;
    expect(operations.all.map((one) => one.view().state)).toEqual(["cancelled", "succeeded"]);
  });

  it("are not begun any more once they are drained", async () => {
    const { operations } = open();
    const slow = work("operation-1");
    operations.start(slow.given);
    const drained = operations.drain(1000);
    expect(() => operations.start(work("operation-2").given)).toThrow(expect.objectContaining({ code: "POOL_CLOSED" }));
    slow.end("done");
    await drained;
  });
});
