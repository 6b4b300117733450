import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { endProcess, findProcesses, processStartTime } from "../../lib/host/index.ts";

const STATE_DIR = "/nonexistent/state";
const SHARED_MEMORY_DIR = "/nonexistent/shm/vm-substrate-0-0123abcd";
const DIRECTORIES = { stateDir: STATE_DIR, sharedMemoryDir: SHARED_MEMORY_DIR };
const OVERLAY = `{"driver":"file","filename":"${STATE_DIR}/vms/abc/overlay.qcow2"}`;
const children: ChildProcess[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});

/** A process with these arguments, which waits for its end. */
async function looksLike(argv: readonly string[], uid?: number): Promise<number> {
  const child = spawn("/bin/sh", ["-c", "read line", ...argv], { stdio: ["pipe", "ignore", "ignore"], uid });
  children.push(child);
  await once(child, "spawn");
  return child.pid ?? 0;
}

describe("the processes of a state directory", () => {
  it("are those that are named as its VMs and have a file in it", async () => {
    const pid = await looksLike(["-name", "guest=vm-substrate-abc", OVERLAY]);
    const startTime = await processStartTime(pid);
    expect(await findProcesses(DIRECTORIES)).toEqual([{ pid, startTime, id: "abc" }]);
  });

  it("are also those that only have their RAM there, as what is booted to make a recipe's disk", async () => {
    const ram = JSON.stringify({ id: "ram0", "mem-path": `${SHARED_MEMORY_DIR}/abc.build.ram` });
    const disk = '{"driver":"file","filename":"/nonexistent/cache/recipes/debian/.k/work/a.qcow2"}';
    await looksLike(["-name", "guest=vm-substrate-abc", disk]);
    const pid = await looksLike(["-name", "guest=vm-substrate-abc", ram, disk]);
    expect(await findProcesses(DIRECTORIES)).toMatchObject([{ pid, id: "abc" }]);
  });

  it.each<[string, readonly string[]]>([
    ["of another state directory", ["guest=vm-substrate-abc", OVERLAY.replace("/state/", "/state-2/")]],
    ["of a directory above it", ["guest=vm-substrate-abc", OVERLAY.replace("/state/", "/")]],
    ["with another name", ["guest=abc", OVERLAY]],
    ["with a name that only ends alike", ["my-guest=vm-substrate-abc", OVERLAY]],
    ["that only names a file in it", ["tail", "-f", `${STATE_DIR}/vms/abc/qemu.log`]],
  ])("are not those %s", async (_, argv) => {
    await looksLike(argv);
    expect(await findProcesses(DIRECTORIES)).toEqual([]);
  });

  it.runIf(process.getuid?.() === 0)("are not those of another user", async () => {
    await looksLike(["guest=vm-substrate-abc", OVERLAY], 65_534);
    expect(await findProcesses(DIRECTORIES)).toEqual([]);
  });
});

describe("ending a process that is no child", () => {
  it("returns when it is gone", async () => {
    const pid = await looksLike([]);
    const startTime = (await processStartTime(pid)) ?? 0;
    expect(await endProcess({ pid, startTime })).toBe(true);
    expect(await processStartTime(pid)).toBeUndefined();
    expect(await endProcess({ pid, startTime })).toBe(false);
  });

  it("leaves another process with the same PID alone", async () => {
    const pid = await looksLike([]);
    const startTime = (await processStartTime(pid)) ?? 0;
    expect(await endProcess({ pid, startTime: startTime - 1 })).toBe(false);
    expect(await processStartTime(pid)).toBe(startTime);
  });
});
