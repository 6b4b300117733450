import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SharedLock } from "../../lib/store/index.ts";

let dir = "";
let file = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "lock-"));
  file = join(dir, "lock.db");
});
afterEach(() => rm(dir, { recursive: true }));

const HOLDER = `
import { SharedLock } from ${JSON.stringify(join(import.meta.dirname, "../../lib/store/index.ts"))};
const lock = SharedLock.tryAcquire(process.argv[1], process.argv[2]);
console.log("held");
setInterval(() => lock, 60_000);
`;

/** Another process that holds the lock, until it is killed. */
async function other(mode: "shared" | "exclusive") {
  const flags = ["--disable-warning=ExperimentalWarning", "--input-type=module-typescript"];
  const child = spawn(process.execPath, [...flags, "-e", HOLDER, file, mode], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return {
    async [Symbol.asyncDispose]() {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Whether it can be had now. */
function isFree(mode: "shared" | "exclusive"): boolean {
  using lock = SharedLock.tryAcquire(file, mode);
  return lock !== undefined;
}

describe("SharedLock", () => {
  it("is held by many in common, or by one alone, in one process too", () => {
    {
      using one = SharedLock.tryAcquire(file, "shared");
      using two = SharedLock.tryAcquire(file, "shared");
      expect([one, two]).toEqual([expect.any(SharedLock), expect.any(SharedLock)]);
      expect(isFree("exclusive")).toBe(false);
    }
    {
      using alone = SharedLock.tryAcquire(file, "exclusive");
      expect(alone).toBeInstanceOf(SharedLock);
      expect([isFree("exclusive"), isFree("shared")]).toEqual([false, false]);
    }
    expect([isFree("shared"), isFree("exclusive")]).toEqual([true, true]);
  });

  it("is held against other processes, and free when they were killed", async () => {
    {
      await using _ = await other("shared");
      expect([isFree("exclusive"), isFree("shared")]).toEqual([false, true]);
    }
    expect(isFree("exclusive")).toBe(true);
    {
      await using _ = await other("exclusive");
      expect([isFree("exclusive"), isFree("shared")]).toEqual([false, false]);
    }
    expect(isFree("shared")).toBe(true);
  });

  it("is waited for until others have given it back", async () => {
    const held = SharedLock.tryAcquire(file, "exclusive");
    let isHad = false;
    const options = { what: "test", timeoutMs: 60_000, signal: undefined };
    const acquiring = SharedLock.acquire(file, "shared", options).finally(() => (isHad = true));
    await delay(100);
    expect(isHad).toBe(false);
    held?.[Symbol.dispose]();
    using lock = await acquiring;
    expect(lock).toBeInstanceOf(SharedLock);
  });

  it("is not waited for longer than it is wanted", async () => {
    using _ = SharedLock.tryAcquire(file, "exclusive");
    const options = { what: "test", timeoutMs: 30, signal: undefined };
    const late = { code: "TIMEOUT", message: expect.stringContaining(file) };
    await expect(SharedLock.acquire(file, "shared", options)).rejects.toMatchObject(late);
    const giveUp = new AbortController();
    const aborted = SharedLock.acquire(file, "shared", { ...options, timeoutMs: 60_000, signal: giveUp.signal });
    giveUp.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("leaves its file empty, and no other beside it", async () => {
    expect(isFree("exclusive") && isFree("shared")).toBe(true);
    expect((await stat(file)).size).toBe(0);
  });

  it.each(["shared", "exclusive"] as const)("(%s) on a file that is something else names that file", async (mode) => {
    await writeFile(file, "x".repeat(4096));
    const damaged = { code: "STATE_DIR_DAMAGED", message: expect.stringContaining(file) };
    expect(() => SharedLock.tryAcquire(file, mode)).toThrow(expect.objectContaining(damaged));
  });
});
