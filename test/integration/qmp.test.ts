import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { QmpClient } from "../../lib/qmp/index.ts";
import { describeQmpConformance, type QmpTarget } from "../support/qmp-conformance.ts";

/** A QEMU without disks, network or display, paused before its first instruction. */
async function startQemu(machine: string, ...devices: string[]): Promise<QmpTarget> {
  const directory = await mkdtemp(join(tmpdir(), "qmp-"));
  const path = join(directory, "m");
  const args = ["-accel", "tcg", "-machine", machine, "-nodefaults", "-S", "-display", "none", ...devices];
  const monitor = ["-chardev", `socket,id=m,path=${path},server=on,wait=off`, "-mon", "chardev=m,mode=control"];
  const qemu = spawn("qemu-system-x86_64", [...args, ...monitor], { stdio: "ignore" });
  const exited = once(qemu, "exit");
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      qemu.kill("SIGKILL");
      await exited;
      await rm(directory, { recursive: true });
    },
  };
}

describeQmpConformance("QEMU, machine none", () => startQemu("none"));
describeQmpConformance("QEMU, machine pc", () => startQemu("pc"));

describe("a real monitor", () => {
  it("holds its largest answer within the line cap", async () => {
    await using target = await startQemu("none");
    await using client = await QmpClient.connect(target.path, { retryUntilPresent: true });
    expect((await client.execute("query-qmp-schema")).length).toBeGreaterThan(500);
  });

  it("shows the generation id that a VM was given", async () => {
    const guid = "6c1f1f39-0c64-4b4c-8a2d-f3a5a3b2f001";
    await using target = await startQemu("pc", "-device", JSON.stringify({ driver: "vmgenid", guid }));
    await using client = await QmpClient.connect(target.path, { retryUntilPresent: true });
    expect(await client.execute("query-vm-generation-id")).toEqual({ guid });
  });

  it("does not greet a second client, which then gives up", async () => {
    await using target = await startQemu("none");
    await using first = await QmpClient.connect(target.path, { retryUntilPresent: true });
    const second = QmpClient.connect(target.path, { timeoutMs: 200 });
    await expect(second).rejects.toMatchObject({ code: "QMP_CONNECT" });
    expect(await first.execute("query-status")).toHaveProperty("running", false);
  });

  it("moves its device state, tracked by MIGRATION events", async () => {
    await using source = await startQemu("pc");
    await using client = await QmpClient.connect(source.path, { retryUntilPresent: true });
    await client.execute("migrate-set-capabilities", { capabilities: [{ capability: "events", state: true }] });
    const failed = client.waitForEvent("MIGRATION", { where: ({ data }) => data.status === "failed" });
    await client.execute("migrate", { uri: `unix:${source.path}-nobody` }).catch(() => {});
    await failed;
    expect((await client.execute("query-migrate")).status).toBe("failed");
  });
});
