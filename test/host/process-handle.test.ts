import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import { processStartTime } from "../../lib/host/index.ts";
import { adoptProcess, type ProcessName, watchProcess } from "../../lib/host/process-handle.ts";
import { eventually } from "../support/eventually.ts";

const children: ChildProcess[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});

/** A process that does nothing for longer than any test. */
async function sleeper(): Promise<ProcessName & { child: ChildProcess }> {
  const child = spawn("sleep", ["600"], { stdio: "ignore" });
  children.push(child);
  await once(child, "spawn");
  const pid = child.pid ?? 0;
  return { child, pid, startTime: (await processStartTime(pid)) ?? 0 };
}

describe("adopting a process", () => {
  it("gives a handle that ends it and tells of its end", async () => {
    const { child, ...name } = await sleeper();
    const handle = await adoptProcess(name);
    expect(handle?.pid).toBe(name.pid);
    handle?.signal("SIGKILL");
    expect(await handle?.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(child.signalCode).toBe("SIGKILL");
  });

  it("tells of an end by itself, of which nobody knows why", async () => {
    const { child, ...name } = await sleeper();
    const handle = await adoptProcess(name);
    child.kill("SIGKILL");
    expect(await handle?.exited).toEqual({ code: null, signal: null });
  });

  it("is refused for another process with the same PID", async () => {
    const { child, pid, startTime } = await sleeper();
    expect(await adoptProcess({ pid, startTime: startTime - 1 })).toBeUndefined();
    expect(await adoptProcess({ pid, startTime: startTime + 1 })).toBeUndefined();
    expect(child.exitCode).toBeNull();
  });

  it("is refused for one that is gone", async () => {
    const { child, ...name } = await sleeper();
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(await adoptProcess(name)).toBeUndefined();
  });

  it("is refused for a zombie, which nobody will reap", async () => {
    // The shell becomes a sleep that knows nothing of the child that it inherits.
    const parent = spawn("/bin/sh", ["-c", "sleep 0.05 & echo $!; exec sleep 600"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    children.push(parent);
    const [said] = (await once(parent.stdout, "data")) as [Buffer];
    const pid = Number(said.toString());
    const stat = () => readFile(`/proc/${pid}/stat`, "latin1");
    await eventually(async () => expect(await stat()).toContain(") Z "));
    const startTime = Number((await stat()).split(") ")[1]?.split(" ")[19]);
    expect(startTime).toBeGreaterThan(0);
    expect(await adoptProcess({ pid, startTime })).toBeUndefined();
  });
});

describe("a watched process that was replaced by another", () => {
  it("has ended, and the other is not hit by a signal", async () => {
    const { child, pid, startTime } = await sleeper();
    const handle = watchProcess({ pid, startTime: startTime - 1 });
    handle.signal("SIGKILL");
    expect(await handle.exited).toEqual({ code: null, signal: null });
    expect(child.signalCode).toBeNull();
    expect(await processStartTime(pid)).toBe(startTime);
  });

  it("is watched no longer once it was let go", async () => {
    const { pid, startTime } = await sleeper();
    const handle = watchProcess({ pid, startTime });
    handle.detach();
    let ended = false;
    void handle.exited.then(() => (ended = true));
    process.kill(pid, "SIGKILL");
    await eventually(async () => expect(await processStartTime(pid)).toBeUndefined());
    expect(ended).toBe(false);
  });
});
