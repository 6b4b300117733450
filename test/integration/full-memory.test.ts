import { execFile } from "node:child_process";
import { mkdtemp, open, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { output } from "../support/inside.ts";
import { openLab } from "../support/lab.ts";
import { announced } from "../support/vms.ts";

const run = promisify(execFile);
const MIB = 2 ** 20;
/** For the RAM file of `mini`, of which 59 MiB are resident, and the half of what its holes may come to take. */
const SIZE_MIB = 176;
/** More than is free in the guest and not in the RAM file. */
const FILL_GUEST =
  "mkdir /run/full && mount -t tmpfs -o size=100% t /run/full && dd if=/dev/zero of=/run/full/x bs=1M count=24";

/** A file system in memory of its own, for RAM files. */
async function smallSharedMemory() {
  const dir = await mkdtemp(join(tmpdir(), "full-memory-"));
  await run("mount", ["-t", "tmpfs", "-o", `size=${SIZE_MIB}m,mode=0700`, "vm-substrate-test", dir]);
  return {
    dir,
    async [Symbol.asyncDispose]() {
      await run("umount", [dir]);
      await rmdir(dir);
    },
  };
}

/** Takes all that is left of it. */
async function fill(file: string): Promise<void> {
  await using handle = await open(file, "wx");
  const zeros = Buffer.alloc(MIB / 4, 1);
  try {
    for (;;) await handle.write(zeros);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

it("a VM that needs memory of the host's when its file system for memory is full ends alone, by SIGBUS, and no further one is made", async () => {
  await using memory = await smallSharedMemory();
  await using lab = await openLab({ sharedMemoryDir: memory.dir, heartbeatMs: 0 });
  const [victim, other] = await lab.pool.activate(2, { substrate: "mini", hostname: "full-{index}" });
  if (victim === undefined || other === undefined) throw new Error("no VMs");
  const seen = announced(lab.pool);
  const causes: unknown[] = [];
  victim.events.on("exit", (cause) => void causes.push(cause));
  await other.park(); // which needs none
  const filler = join(memory.dir, "filler");
  await fill(filler);

  await expect(victim.exec(["sh", "-c", FILL_GUEST])).rejects.toMatchObject({ code: "VM_GONE" });
  await eventually(() => expect(causes).toEqual([{ code: null, signal: "SIGBUS" }]));
  await expect(lab.pool.activate(1, { substrate: "mini" })).rejects.toMatchObject({
    code: "INSUFFICIENT_SHARED_MEMORY",
  });
  expect(lab.pool.vms).toEqual([other]);

  await rm(filler);
  await other.resume();
  expect(await output(other, "hostname")).toBe("full-1");
  expect(seen).toEqual(["parked full-1", "exit full-0", "resumed full-1"]);
  await lab.pool.activate(1, { substrate: "mini" });
});
