import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { availableMemoryBytes, bootId, processMemory, processStartTime } from "../../lib/host/index.ts";

describe("processStartTime", () => {
  it("is the same for the life of a process", async () => {
    const first = await processStartTime(process.pid);
    expect(first).toBeGreaterThan(0);
    expect(await processStartTime(process.pid)).toBe(first);
  });

  it("reads past a command's name that has spaces and parentheses", async () => {
    const child = spawn(process.execPath, [
      "-e",
      "process.title = 'a) R 1 (b'; console.log(1); setInterval(() => {}, 1e6)",
    ]);
    await once(child.stdout, "data");
    const name = await readFile(`/proc/${child.pid}/comm`, "latin1");
    const startTime = await processStartTime(child.pid ?? 0);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(name).toContain(")");
    expect(startTime).toBeGreaterThan((await processStartTime(process.pid)) ?? Number.POSITIVE_INFINITY);
  });

  it("is undefined for no process, and for a zombie", async () => {
    expect(await processStartTime(2 ** 30)).toBeUndefined();
    expect(await processStartTime(-1)).toBeUndefined();
    expect(await processMemory(-1)).toBeUndefined();
    // The inner shell becomes a program that never collects its child's end.
    const parent = spawn("/bin/sh", ["-c", "sleep 0 & echo $!; exec cat"]);
    const [pid] = await once(parent.stdout, "data");
    const zombie = Number(String(pid));
    while (!/^State:\s+Z/m.test(await readFile(`/proc/${zombie}/status`, "latin1"))) await new Promise(setImmediate);
    expect(await processStartTime(zombie)).toBeUndefined();
    expect(await processMemory(zombie)).toBeUndefined();
    parent.kill("SIGKILL");
    await once(parent, "exit");
  });
});

describe("the rest of /proc", () => {
  it("has this process's memory", async () => {
    const memory = await processMemory(process.pid);
    expect(memory?.pssBytes).toBeGreaterThan(2 ** 20);
    expect(memory?.privateBytes).toBeLessThanOrEqual(memory?.pssBytes ?? 0);
  });

  it("has the machine's free memory and boot", async () => {
    expect(await availableMemoryBytes()).toBeGreaterThan(2 ** 20);
    expect(await bootId()).toMatch(/^[0-9a-f-]{36}$/);
  });
});
