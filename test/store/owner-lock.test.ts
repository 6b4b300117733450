import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OwnerLock } from "../../lib/store/index.ts";

let dir = "";
let file = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "lock-"));
  file = join(dir, "owner.db");
});
afterEach(() => rm(dir, { recursive: true }));

const lockedBy = (pid: number) => ({
  code: "STATE_DIR_LOCKED",
  message: expect.stringContaining(`${dir} is owned by process ${pid};`),
  details: { stateDir: dir, pid },
});

const HOLDER = `
import { OwnerLock } from ${JSON.stringify(join(import.meta.dirname, "../../lib/store/index.ts"))};
const lock = OwnerLock.acquire(process.argv[1], "");
console.log("held");
setInterval(() => lock, 60_000);
`;

/** Takes the lock, and gives it back. */
function takeAndRelease(): void {
  OwnerLock.acquire(file, dir)[Symbol.dispose]();
}

/** Another process that holds the lock. */
async function otherOwner() {
  const flags = ["--disable-warning=ExperimentalWarning", "--input-type=module-typescript"];
  const child = spawn(process.execPath, [...flags, "-e", HOLDER, file], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return {
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}

describe("OwnerLock", () => {
  it("is held by one at a time, in one process too", () => {
    {
      using lock = OwnerLock.acquire(file, dir);
      expect(lock).toBeInstanceOf(OwnerLock);
      for (let i = 0; i < 3; i++) {
        expect(() => OwnerLock.acquire(file, dir)).toThrow(expect.objectContaining(lockedBy(process.pid)));
      }
    }
    takeAndRelease();
  });

  it("is given back once, however often it is disposed", () => {
    const lock = OwnerLock.acquire(file, dir);
    lock[Symbol.dispose]();
    lock[Symbol.dispose]();
    takeAndRelease();
  });

  it("names the process that holds it, and is free when that was killed", async () => {
    {
      await using owner = await otherOwner();
      expect(() => OwnerLock.acquire(file, dir)).toThrow(expect.objectContaining(lockedBy(owner.pid)));
    }
    takeAndRelease();
  });

  it("of another directory is another lock", () => {
    using lock = OwnerLock.acquire(join(dir, "other.db"), dir);
    expect(lock).toBeInstanceOf(OwnerLock);
    takeAndRelease();
  });

  it("does not blame an owner for a file that is damaged", async () => {
    await writeFile(file, "x".repeat(4096));
    expect(() => OwnerLock.acquire(file, dir)).not.toThrow(expect.objectContaining({ code: "STATE_DIR_LOCKED" }));
  });
});
