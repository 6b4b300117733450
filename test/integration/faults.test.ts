import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, inject, test } from "vitest";
import { processStartTime } from "../../lib/host/index.ts";
import { type ErrorCode, Pool } from "../../lib/index.ts";
import { expectRightClock } from "../support/inside.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { expectNothingLeft, NOTHING_COLLECTED } from "../support/nothing-left.ts";

describe("aborting an activation leaves nothing", () => {
  // Moments of an activation, by when its traces appear; the sweep covers every phase of a real one.
  test.each([0, 5, 20, 40, 60, 80, 100, 130, 160, 200, 300])("after %i ms", async (afterMs) => {
    await using lab = await openLab();
    await lab.pool.build({ recipe: "mini" });
    const signal = AbortSignal.timeout(afterMs);
    const activating = lab.pool.activate(2, { substrate: "mini", hostname: "node-{index}" }, { signal });
    const outcome = await activating.catch((error: unknown) => error);
    if (Array.isArray(outcome)) return; // it was faster; the lab's own check looks at what release leaves
    expect(outcome).toMatchObject({ code: "ABORTED" satisfies ErrorCode });
    expect(lab.pool.vms).toEqual([]);
    const [vm] = await lab.pool.activate(1, { substrate: "mini", hostname: "node-{index}" });
    expect(vm?.hostname).toBe("node-0");
  });
});

test("one that cannot start takes the others with it", async () => {
  await using lab = await openLab({ qemu: await failingEveryThirdStart() });
  const running = await lab.pool.activate(1, { substrate: "mini", hostname: "first" });
  const outcome = await lab.pool.activate(4, { substrate: "mini" }).catch((error: unknown) => error);
  expect(outcome).toMatchObject({ code: "QEMU_EXITED", message: expect.stringContaining("out of luck") });
  expect(lab.pool.vms).toEqual(running);
  expect((await running[0]?.exec(["true"]))?.exitCode).toBe(0);
});

/** The real QEMU behind a script, of which the third guest does not start. */
async function failingEveryThirdStart(): Promise<string> {
  const dir = await mkdtemp(join(inject("labDir"), "wrapper-"));
  const script = join(dir, "qemu");
  const count = join(dir, "count");
  await writeFile(
    script,
    `#!/bin/sh
[ "$1" = --version ] || echo start >> '${count}'
[ "$(grep -c start '${count}' 2>/dev/null)" = 3 ] && { echo 'out of luck' >&2; exit 1; }
exec qemu-system-x86_64 "$@"
`,
    { mode: 0o700 },
  );
  return script;
}

test("a stopped QEMU does not hold up others, and its VM can be released", async () => {
  await using lab = await openLab();
  const [stopped, other] = await lab.pool.activate(2, { substrate: "mini" });
  if (stopped === undefined || other === undefined) throw new Error("no VMs");
  process.kill(stopped.pid, "SIGSTOP");
  await expect(stopped.exec(["true"], { timeoutMs: 500 })).rejects.toMatchObject({ name: "VmSubstrateError" });
  expect((await other.exec(["true"])).exitCode).toBe(0);
  await stopped.release();
});

test("VMs of an owner that was killed are taken over at the next opening, and what it had not handed out is cleared", async () => {
  const { stateDir, cacheDir } = labDirectories();
  const script = `
    import { Pool } from ${JSON.stringify(new URL("../../lib/index.ts", import.meta.url).href)};
    const pool = await Pool.open(${JSON.stringify({ stateDir, cacheDir })});
    const vms = await pool.activate(2, { substrate: "mini" });
    console.log(JSON.stringify(vms.map((vm) => vm.pid)));
    void pool.activate(2, { substrate: "mini" });
    setInterval(() => {}, 1000);
  `;
  const owner = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(createInterface({ input: owner.stdout }), "line");
  const pids: number[] = JSON.parse(line);

  await expect(Pool.open({ stateDir, cacheDir })).rejects.toMatchObject({ code: "STATE_DIR_LOCKED" });
  owner.kill("SIGKILL");
  await once(owner, "exit");
  for (const pid of pids) expect(await processStartTime(pid)).toBeDefined();

  await using lab = await openLab();
  expect(lab.pool.vms.map(({ pid }) => pid).toSorted()).toEqual(pids.toSorted());
  for (const vm of lab.pool.vms) {
    expect(vm.state).toBe("running");
    expect((await vm.exec(["hostname"])).stdout).toBe(`${vm.hostname}\n`);
    await expectRightClock(vm);
  }
  expect((await lab.pool.activate(1, { substrate: "mini" })).map((vm) => vm.hostname)).toEqual(["mini-2"]);
  expect(await lab.pool.gc()).toEqual(NOTHING_COLLECTED);
});

test("a second pool on the same directory is refused, and the first goes on", async () => {
  await using lab = await openLab();
  await expect(Pool.open(labDirectories())).rejects.toMatchObject({
    code: "STATE_DIR_LOCKED",
    message: expect.stringContaining(String(process.pid)),
  });
  expect(await lab.pool.activate(1, { substrate: "mini" })).toHaveLength(1);
});

test("expectNothingLeft sees a VM that runs", async () => {
  await using lab = await openLab();
  await lab.pool.activate(1, { substrate: "mini" });
  await expect(expectNothingLeft(labDirectories())).rejects.toThrow();
});
