import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { VmSubstrateError } from "../../lib/core/index.ts";
import { processStartTime, QemuProcess } from "../../lib/host/index.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "process-"));
});
afterEach(() => rm(dir, { recursive: true }));

/** A shell in place of QEMU. */
function shell(script: string, inheritFiles: readonly string[] = []): Promise<QemuProcess> {
  return QemuProcess.spawn({ binary: "/bin/sh", argv: ["-c", script], logFile: join(dir, "log"), inheritFiles });
}

const never = new Promise<never>(() => {});

describe("a process", () => {
  it("that cannot be started is QEMU_MISSING", async () => {
    await writeFile(join(dir, "data"), "", { mode: 0o600 });
    for (const binary of ["/nonexistent/qemu", dir, join(dir, "data")]) {
      const spawning = QemuProcess.spawn({ binary, argv: [], logFile: join(dir, "log") });
      await expect(spawning, binary).rejects.toMatchObject({ code: "QEMU_MISSING" });
    }
  });

  it("tells how it ended, once and for all", async () => {
    await using process = await shell("exit 7");
    expect(await process.exited).toEqual({ code: 7, signal: null });
    expect(process.exit).toEqual({ code: 7, signal: null });
    expect(await process.startTime()).toBeUndefined();
    expect(await process.kill()).toEqual({ code: 7, signal: null });
    expect(await process.terminate()).toEqual({ code: 7, signal: null });
  });

  it("is killed when disposed", async () => {
    const process = await shell("sleep 60");
    expect(await process.startTime()).toBeGreaterThan(0);
    await process[Symbol.asyncDispose]();
    expect(process.exit).toEqual({ code: null, signal: "SIGKILL" });
    expect(await processStartTime(process.pid)).toBeUndefined();
  });

  it("gets SIGTERM first", async () => {
    await using process = await shell("trap 'exit 9' TERM; echo ready; while :; do read x < /dev/null; sleep 1; done");
    await said(process, "ready");
    expect(await process.terminate()).toMatchObject({ code: 9 });
  });

  it("gets SIGKILL when it ignores SIGTERM", async () => {
    await using process = await shell("trap '' TERM; echo ready; exec sleep 60");
    await said(process, "ready");
    expect(await process.terminate(10)).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("is not hit by a terminal's Ctrl-C: it leads a session of its own", async () => {
    await using child = await shell("ps -o sid= -p $$ 2>/dev/null || cut -d' ' -f6 /proc/$$/stat");
    await child.exited;
    expect(Number(await child.stderrTail())).toBe(child.pid);
  });

  it("writes into a private log, of which the tail is kept", async () => {
    await using process = await shell(
      "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo the end >&2",
    );
    await process.exited;
    const tail = await process.stderrTail();
    expect(tail).toMatch(/the end$/);
    expect(tail.length).toBeLessThanOrEqual(4096);
    expect((await stat(join(dir, "log"))).mode & 0o777).toBe(0o600);
  });
});

/** Resolves when the process's output holds `text`. */
async function said(process: QemuProcess, text: string): Promise<void> {
  while (!(await process.stderrTail()).includes(text)) await new Promise(setImmediate);
}

describe("guard", () => {
  it("gives what the work gives", async () => {
    await using process = await shell("sleep 60");
    expect(await process.guard("work", Promise.resolve(3))).toBe(3);
    const failure = new VmSubstrateError("TIMEOUT", "late");
    await expect(process.guard("work", Promise.reject(failure))).rejects.toBe(failure);
  });

  it("says what the process said when it ends", async () => {
    await using process = await shell("echo 'no such device' >&2; exit 1");
    await expect(process.guard("start", never)).rejects.toMatchObject({
      code: "QEMU_EXITED",
      message: expect.stringMatching(/status 1 during start: no such device/),
      details: { code: 1, signal: null, during: "start" },
    });
  });

  it("names the signal, and that nothing was said", async () => {
    await using process = await shell("kill -SEGV $$");
    await expect(process.guard("load", never)).rejects.toThrow(/SIGSEGV during load: \(it wrote nothing\)/);
  });

  it.each(["QMP_CLOSED", "QMP_CONNECT", "GUEST_AGENT_CLOSED", "GUEST_HELPER_FAILED"] as const)(
    "prefers the process's end to %s, which it led to",
    async (code) => {
      await using process = await shell("exec sleep 60");
      const closed = new VmSubstrateError(code, "the peer closed the connection");
      const guarded = process.guard("load", Promise.reject(closed));
      guarded.catch(() => {});
      await process.terminate();
      await expect(guarded).rejects.toMatchObject({ code: "QEMU_EXITED" });
    },
  );

  it("prefers it also when the process's end was noticed first", async () => {
    await using process = await shell("exit 1");
    await process.exited;
    const closed = new VmSubstrateError("QMP_CLOSED", "the peer closed the connection");
    await expect(process.guard("load", Promise.reject(closed))).rejects.toMatchObject({ code: "QEMU_EXITED" });
  });

  it("keeps a closed channel's error when the process lives on", async () => {
    await using process = await shell("sleep 60");
    const closed = new VmSubstrateError("QMP_CLOSED", "closed");
    await expect(process.guard("load", Promise.reject(closed))).rejects.toBe(closed);
  });

  it("lets no rejection of work that lost go unhandled", async () => {
    await using process = await shell("exit 1");
    const { promise, reject } = Promise.withResolvers<never>();
    await expect(process.guard("start", promise)).rejects.toMatchObject({ code: "QEMU_EXITED" });
    reject(new Error("late"));
  });
});
