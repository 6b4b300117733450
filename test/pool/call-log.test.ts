import { describe, expect, it } from "vitest";
import type { Logger } from "../../lib/core/index.ts";
import { openFakePool } from "../support/fake-host.ts";

const SPEC = { substrate: "fake" };
const ENDED = "a call for VMs has ended";

/** A logger that keeps what it is told, with its level. */
function collector(): { readonly logger: Logger; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const at = (level: string) => (fields: Record<string, unknown>, message: string) =>
    void lines.push({ level, ...fields, message });
  return { logger: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") }, lines };
}

describe("the log", () => {
  it("has one line for each call that makes VMs, with what came of it", async () => {
    const { logger, lines } = collector();
    await using fake = await openFakePool({ logger });
    await fake.pool.dock("fake", { min: 1 });
    await fake.pool.docked("fake", { count: 1 });
    const [vm] = await fake.pool.activate(2, SPEC, { callId: "request-17" });
    await vm?.fork(1, { callId: "request-18" });
    await expect(fake.pool.coldBoot(1, { substrate: "none" })).rejects.toMatchObject({ code: "SUBSTRATE_NOT_FOUND" });
    const common = { level: "info", message: ENDED, totalMs: expect.any(Number) };
    expect(lines.filter(({ message }) => message === ENDED)).toEqual([
      {
        ...common,
        callId: "request-17",
        what: "activate",
        substrate: "fake",
        count: 2,
        origins: { docked: 1, cloned: 1 },
        outcome: "OK",
      },
      {
        ...common,
        callId: "request-18",
        what: "fork",
        substrate: "fake@1",
        count: 1,
        origins: { forked: 1 },
        outcome: "OK",
      },
      {
        ...common,
        callId: expect.stringMatching(/^\S{8,}$/),
        what: "coldBoot",
        substrate: "none",
        count: 1,
        origins: {},
        outcome: "SUBSTRATE_NOT_FOUND",
      },
    ]);
  });

  it("says of a settled call what it made, and why the rest is missing", async () => {
    const { logger, lines } = collector();
    await using fake = await openFakePool({ logger });
    fake.qemu.script = (vm) => (vm === 0 ? { at: { load: "die" } } : {});
    await fake.pool.activateSettled(2, SPEC);
    expect(lines.find(({ message }) => message === ENDED)).toMatchObject({
      origins: { cloned: 1 },
      outcome: "QEMU_EXITED",
    });
  });

  it.each(["", "two words", "line\nbreak", "x".repeat(65), 17])("takes no callId %j", async (callId) => {
    await using fake = await openFakePool();
    const options = { callId } as { callId: string };
    await expect(fake.pool.activate(1, SPEC, options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(fake.pool.vms).toEqual([]);
  });

  it("is no part of what makes a repeated call the same", async () => {
    await using fake = await openFakePool();
    const keyed = { ...SPEC, idempotencyKey: "once" };
    const [first] = await fake.pool.activate(1, keyed, { callId: "a" });
    expect(await fake.pool.activate(1, keyed, { callId: "b" })).toEqual([first]);
  });
});
