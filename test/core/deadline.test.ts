import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { throwIfAborted, VmSubstrateError, withDeadline } from "../../lib/core/index.ts";

const forever = () => new Promise<never>(() => {});
const throwing = (): Promise<never> => {
  throw new Error("broken");
};

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe("withDeadline", () => {
  it("gives the result of work that finishes in time, and leaves no timer", async () => {
    await expect(withDeadline({ what: "answer", timeoutMs: 100 }, async () => 42)).resolves.toBe(42);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("passes an error of the work through, and leaves no timer", async () => {
    const error = new Error("broken");
    await expect(withDeadline({ what: "answer", timeoutMs: 100 }, () => Promise.reject(error))).rejects.toBe(error);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("leaves no timer when the work throws before it returns a promise", async () => {
    await expect(withDeadline({ what: "answer", timeoutMs: 100 }, throwing)).rejects.toThrow("broken");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("settles with TIMEOUT at the deadline, even when the work ignores its signal", async () => {
    const result = withDeadline({ what: "QMP greeting", timeoutMs: 100 }, forever);
    const settled = vi.fn<() => void>();
    result.then(settled, settled);
    await vi.advanceTimersByTimeAsync(99);
    expect(settled).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    await expect(result).rejects.toMatchObject({
      name: "VmSubstrateError",
      code: "TIMEOUT",
      message: "QMP greeting: no result within 100 ms",
      details: { timeoutMs: 100 },
    });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("uses the code that the caller gives to a timeout", async () => {
    const result = withDeadline({ what: "greeting", timeoutMs: 5, timeoutCode: "QMP_CONNECT" }, forever);
    const expected = expect(result).rejects.toMatchObject({ code: "QMP_CONNECT" });
    await vi.advanceTimersByTimeAsync(5);
    await expected;
  });

  it("fires the signal of the work with the very error that the caller gets", async () => {
    let seen: AbortSignal | undefined;
    const result = withDeadline({ what: "load", timeoutMs: 5 }, (signal) => {
      seen = signal;
      return forever();
    });
    const caught = result.catch((error: unknown) => error);
    expect(seen?.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(5);
    expect(seen?.aborted).toBe(true);
    expect(seen?.reason).toBe(await caught);
  });

  it("does not begin the work when the caller's signal has already fired", async () => {
    const work = vi.fn<() => Promise<void>>();
    const reason = new Error("changed my mind");
    await expect(
      withDeadline({ what: "load", timeoutMs: 5, signal: AbortSignal.abort(reason) }, work),
    ).rejects.toMatchObject({ code: "ABORTED", cause: reason, message: "load: aborted by the caller" });
    expect(work).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("settles with ABORTED at once when the caller's signal fires, and leaves no timer or listener", async () => {
    const controller = new AbortController();
    const remove = vi.spyOn(controller.signal, "removeEventListener");
    const reason = new Error("changed my mind");
    let seen: AbortSignal | undefined;
    const result = withDeadline({ what: "load", timeoutMs: 5, signal: controller.signal }, (signal) => {
      seen = signal;
      return forever();
    });
    controller.abort(reason);
    await expect(result).rejects.toMatchObject({ code: "ABORTED", cause: reason });
    expect(seen?.aborted).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
    expect(remove).toHaveBeenCalledOnce();
  });

  it("removes its listener from the caller's signal when the work is done", async () => {
    const controller = new AbortController();
    const add = vi.spyOn(controller.signal, "addEventListener");
    const remove = vi.spyOn(controller.signal, "removeEventListener");
    await withDeadline({ what: "load", timeoutMs: 5, signal: controller.signal }, async () => {});
    expect(add).toHaveBeenCalledOnce();
    expect(remove).toHaveBeenCalledWith("abort", add.mock.calls[0]?.[1]);
  });

  it("swallows a rejection of the work that comes after the deadline", async () => {
    const unhandled = vi.fn<() => void>();
    process.on("unhandledRejection", unhandled);
    try {
      const { promise, reject } = Promise.withResolvers<never>();
      const result = withDeadline({ what: "load", timeoutMs: 5 }, () => promise);
      const expected = expect(result).rejects.toMatchObject({ code: "TIMEOUT" });
      await vi.advanceTimersByTimeAsync(5);
      await expected;
      reject(new Error("too late"));
      // Node reports unhandled rejections after the microtasks, before the next turn of the loop.
      vi.useRealTimers();
      await new Promise((resolve) => setImmediate(resolve));
      expect(unhandled).not.toHaveBeenCalled();
    } finally {
      process.off("unhandledRejection", unhandled);
    }
  });

  it("reports the timeout of an outer deadline as what it is, not as an abort", async () => {
    const result = withDeadline({ what: "activation", timeoutMs: 5 }, (signal) =>
      withDeadline({ what: "greeting", timeoutMs: 1000, signal }, forever),
    );
    const expected = expect(result).rejects.toMatchObject({
      code: "TIMEOUT",
      message: expect.stringMatching(/^activation: /),
    });
    await vi.advanceTimersByTimeAsync(5);
    await expected;
    expect(vi.getTimerCount()).toBe(0);
  });

  it("passes an error of ours that is the reason of the signal through unchanged", async () => {
    const controller = new AbortController();
    const reason = new VmSubstrateError("POOL_CLOSED", "the pool was closed");
    const result = withDeadline({ what: "load", timeoutMs: 5, signal: controller.signal }, forever);
    controller.abort(reason);
    await expect(result).rejects.toBe(reason);
  });
});

describe("throwIfAborted", () => {
  it("does nothing without a signal, or while it has not fired", () => {
    expect(() => throwIfAborted(undefined, "load")).not.toThrow();
    expect(() => throwIfAborted(new AbortController().signal, "load")).not.toThrow();
  });

  it("throws ABORTED with the signal's reason as cause", () => {
    expect(() => throwIfAborted(AbortSignal.abort("stop"), "load")).toThrow(
      expect.objectContaining({ code: "ABORTED", cause: "stop" }),
    );
  });
});
