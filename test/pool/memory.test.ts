import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MIB } from "../../lib/core/index.ts";
import { Memory } from "../../lib/pool/memory.ts";

/** What a clone is counted with before any was measured, and what stays free on the machine. */
const ESTIMATE_MIB = 64;
const RESERVE_MIB = 256;

/** Memory of processes whose PIDs are their sizes in MiB. */
function memoryOf(options: { budgetMiB?: number; availableMiB?: number } = {}): Memory {
  const { budgetMiB, availableMiB = 1_000_000 } = options;
  return new Memory({
    budgetBytes: budgetMiB === undefined ? undefined : budgetMiB * MIB,
    measure: async (pid) => ({ pssBytes: pid * MIB, privateBytes: 0 }),
    available: async () => availableMiB * MIB,
  });
}

async function measured(): Promise<void> {
  await vi.advanceTimersByTimeAsync(1000);
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("room for clones", () => {
  it("is what the budget has, by an estimate until some were measured", async () => {
    using memory = memoryOf({ budgetMiB: 3 * ESTIMATE_MIB });
    await memory.reserve(3, "test");
    await expect(memory.reserve(1, "test")).rejects.toMatchObject({
      code: "INSUFFICIENT_MEMORY",
      details: { neededBytes: ESTIMATE_MIB * MIB, freeBytes: 0 },
    });
  });

  it("is what the machine has but for its reserve, whatever the budget", async () => {
    using memory = memoryOf({ budgetMiB: 10_000, availableMiB: RESERVE_MIB + 2 * ESTIMATE_MIB });
    await expect(memory.reserve(3, "test")).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
    await memory.reserve(2, "test");
  });

  it("is never given twice, also to calls in the same turn", async () => {
    using memory = memoryOf({ budgetMiB: 4 * ESTIMATE_MIB });
    const asked = await Promise.allSettled(Array.from({ length: 9 }, () => memory.reserve(1, "test")));
    expect(asked.filter(({ status }) => status === "fulfilled")).toHaveLength(4);
  });

  it("is also needed for what clones are given beyond their substrate, until they have ended", async () => {
    using memory = memoryOf({ budgetMiB: 3 * ESTIMATE_MIB + 512 });
    const room = await memory.reserve(1, "test", 512 * MIB);
    await expect(memory.reserve(1, "test", 256 * MIB)).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
    memory.track("large", ESTIMATE_MIB, 512 * MIB);
    memory.runs("large", ESTIMATE_MIB, 512 * MIB);
    room[Symbol.dispose]();
    await measured();
    // It takes little yet, and may take all of it.
    await expect(memory.reserve(1, "test", 256 * MIB)).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
    const others = await memory.reserve(2, "test");
    others[Symbol.dispose]();
    memory.forget("large");
    await memory.reserve(1, "test", 512 * MIB);
  });

  it("is not counted by those that were given more", async () => {
    using memory = memoryOf();
    for (let i = 0; i < 4; i++) memory.runs(`small${i}`, 20);
    for (let i = 0; i < 9; i++) memory.runs(`large${i}`, 500, 512 * MIB);
    await measured();
    expect(memory.use.perVmBytes).toBe(1.25 * 20 * MIB);
  });

  it("comes back when it is not used after all, once", async () => {
    using memory = memoryOf({ budgetMiB: ESTIMATE_MIB });
    const room = await memory.reserve(1, "test");
    room[Symbol.dispose]();
    room[Symbol.dispose]();
    await memory.reserve(1, "test");
    await expect(memory.reserve(1, "test")).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
  });

  it("follows what running clones were measured to take, and a quarter more", async () => {
    using memory = memoryOf({ budgetMiB: 1000 });
    for (let i = 0; i < 4; i++) memory.runs(`vm${i}`, 16);
    expect(memory.use.perVmBytes).toBe(ESTIMATE_MIB * MIB);
    await measured();
    expect(memory.use).toMatchObject({ clones: 4, bytes: 64 * MIB, perVmBytes: 20 * MIB });
    await memory.reserve((1000 - 4 * 20) / 20, "test");
    await expect(memory.reserve(1, "test")).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
  });

  it("is kept for docked clones to grow into: a claim of one must not fail for memory", async () => {
    using memory = memoryOf({ budgetMiB: 3 * ESTIMATE_MIB });
    memory.track("docked", 8);
    await measured();
    expect(memory.use.bytes).toBe(8 * MIB);
    await memory.reserve(2, "test");
    await expect(memory.reserve(1, "test")).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
  });

  it("counts a clone that grew beyond the estimate with what it takes, and one that is gone not at all", async () => {
    using memory = memoryOf({ budgetMiB: 4 * ESTIMATE_MIB });
    memory.runs("large", 3 * ESTIMATE_MIB);
    await measured();
    await expect(memory.reserve(2, "test")).rejects.toMatchObject({ code: "INSUFFICIENT_MEMORY" });
    memory.forget("large");
    await memory.reserve(4, "test");
  });
});

describe("measuring", () => {
  it("comes round to every clone, sixteen at a time, the new ones first", async () => {
    const asked: number[] = [];
    using memory = new Memory({
      budgetBytes: undefined,
      measure: async (pid) => {
        asked.push(pid);
        return { pssBytes: MIB, privateBytes: 0 };
      },
    });
    for (let pid = 1; pid <= 20; pid++) memory.track(`vm${pid}`, pid);
    await measured();
    expect(asked).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    memory.track("new", 99);
    await measured();
    expect(asked.slice(16, 21)).toEqual([17, 18, 19, 20, 99]);
    expect(asked.slice(21)).toEqual(Array.from({ length: 11 }, (_, i) => i + 1));
  });

  it("survives clones that ended", async () => {
    using memory = new Memory({
      budgetBytes: undefined,
      measure: async (pid) => {
        if (pid === 1) throw new Error("ENOENT");
        return { pssBytes: pid * MIB, privateBytes: 0 };
      },
    });
    memory.track("dead", 1);
    memory.track("alive", 7);
    await measured();
    expect(memory.meanBytes(["dead", "alive"])).toBe(7 * MIB);
    expect(memory.meanBytes(["dead"])).toBeUndefined();
  });
});
