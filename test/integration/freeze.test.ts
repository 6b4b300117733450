import { expect, test } from "vitest";
import type { Vm } from "../../lib/index.ts";
import { eventually } from "../support/eventually.ts";
import { labDirectories, openLab } from "../support/lab.ts";
import { expectNothingLeft } from "../support/nothing-left.ts";
import { activateOne, said } from "../support/vms.ts";

const shell = (vm: Vm, text: string) => said(vm, "sh", "-c", text);
const count = async (vm: Vm) => Number(await shell(vm, "cat /run/count"));
/** Counts in memory, and has left something on its disk and something that is personal. */
const PROGRAM = `
(n=0; while :; do n=$((n+1)); echo $n > /run/count; sleep 0.05; done) > /dev/null 2>&1 < /dev/null &
echo kept > /root/mark
echo "echo typed" > /root/.ash_history`;

test("a VM becomes a substrate as it runs, and goes on as itself", { timeout: 240_000 }, async () => {
  await using lab = await openLab();
  const { pool } = lab;
  const source = await activateOne(pool, { substrate: "mini", hostname: "master", network: { fabric: "mcast" } });
  await shell(source, PROGRAM);
  await eventually(async () => expect(await count(source)).toBeGreaterThan(3));
  const least = await count(source);

  const built: string[] = [];
  pool.events.on("built", (substrate) => void built.push(`${substrate.name}@${substrate.version}`));
  const steps: string[] = [];
  const frozen = await source.freeze({ name: "saved", onProgress: ({ step }) => steps.push(step) });
  expect(frozen).toEqual({ name: "saved", version: 1 });
  expect(built).toEqual(["saved@1"]);
  expect(steps).toEqual(["boot", "generalize", "miniaturize", "freeze", "digest", "done"]);
  expect(pool.vms).toEqual([source]);
  expect(await shell(source, "hostname")).toBe("master");
  expect(await shell(source, "cat /etc/machine-id")).toBe(source.machineId);
  expect(await shell(source, "cat /root/.ash_history")).toBe("echo typed");

  const vms = await pool.activate(2, { substrate: "saved" });
  for (const vm of vms) {
    const first = await count(vm);
    expect(first).toBeGreaterThanOrEqual(least);
    await eventually(async () => expect(await count(vm)).toBeGreaterThan(first));
    expect(await shell(vm, "cat /root/mark")).toBe("kept");
    expect(await shell(vm, "ls -A /root/.ash_history 2> /dev/null || echo gone")).toBe("gone");
    expect(await shell(vm, "hostname")).toBe(vm.hostname);
    expect(await shell(vm, "cat /etc/machine-id")).toBe(vm.machineId);
  }
  expect(new Set([source, ...vms].map((vm) => vm.machineId)).size).toBe(3);
  const [first] = vms as [Vm];
  const [again] = (await first.fork(1)) as [Vm];
  expect(await shell(again, "cat /root/mark")).toBe("kept");
  for (const vm of [again, ...vms, source]) await vm.release();
  await pool.removeSubstrate("saved");
  await expectNothingLeft(labDirectories(), { open: true });
});

test("what is given up leaves no substrate and no VM", { timeout: 120_000 }, async () => {
  await using lab = await openLab();
  const source = await activateOne(lab.pool, { substrate: "mini" });
  const giveUp = new AbortController();
  const onProgress = ({ step }: { step: string }) => void (step === "generalize" && giveUp.abort());
  await expect(source.freeze({ name: "saved", signal: giveUp.signal, onProgress })).rejects.toMatchObject({
    code: "ABORTED",
  });
  expect(lab.pool.vms).toEqual([source]);
  expect((await lab.pool.substrates()).map(({ name }) => name)).not.toContain("saved");
  await expect(source.freeze({ name: "../x" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(await shell(source, "hostname")).toBe(source.hostname);
});
