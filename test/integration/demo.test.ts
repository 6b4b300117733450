import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { expectNothingLeft } from "../support/nothing-left.ts";

const DEMO = new URL("../../scripts/demo", import.meta.url).pathname;

/** The demo as a user starts it, with the XDG directories of its own. */
async function startDemo(args: string[], cacheHome?: string) {
  const home = await mkdtemp(join(tmpdir(), "vm-demo-"));
  const env = {
    ...process.env,
    XDG_STATE_HOME: join(home, "state"),
    XDG_CACHE_HOME: cacheHome ?? join(home, "cache"),
    XDG_RUNTIME_DIR: home,
  };
  const child = spawn(DEMO, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  return {
    child,
    output: () => ({ stdout, stderr }),
    ended: once(child, "close").then(([code]) => code as number),
    async [Symbol.asyncDispose]() {
      await expectNothingLeft({
        stateDir: join(home, "state/vm-substrate"),
        cacheDir: join(home, "cache/vm-substrate"),
        runtimeDir: home,
      });
      await rm(home, { recursive: true, force: true });
    },
  };
}

test("scripts/demo --json prints one object with four different VMs that reach each other", async () => {
  await using demo = await startDemo(["--json"]);
  expect(await demo.ended, demo.output().stderr).toBe(0);
  const result = JSON.parse(demo.output().stdout);
  expect(result).toMatchObject({
    unique: true,
    reachable: true,
    coldBootMs: expect.any(Number),
    ratio: expect.any(Number),
  });
  expect(result.vms).toHaveLength(4);
  for (const part of ["hostname", "address", "mac", "machineId"]) {
    expect(new Set(result.vms.map((vm: Record<string, unknown>) => vm[part])).size).toBe(4);
  }
  for (const vm of result.vms) {
    const sumMs = Object.values<number>(vm.phasesMs).reduce((sum, ms) => sum + ms, 0);
    expect(sumMs).toBeCloseTo(vm.totalMs, 3);
  }
});

test.each(["download", "boot", "freeze", "cold boot", "activating", "pings"])(
  "Ctrl-C at %s leaves nothing behind",
  async (at) => {
    // What is not stopped while it downloads need not download again.
    await using demo = await startDemo([], at === "download" ? undefined : join(inject("labDir"), "cache"));
    let interrupted = false;
    demo.child.stderr.on("data", () => {
      if (interrupted || !demo.output().stderr.includes(at)) return;
      interrupted = true;
      demo.child.kill("SIGINT");
    });
    expect(await demo.ended, demo.output().stderr).toBe(130);
    expect(demo.output().stderr).toContain("nothing is left behind");
  },
);
