import { describe, expect, it } from "vitest";
import { QmpClient } from "../../lib/qmp/index.ts";

/** A QEMU, started paused, whose monitor listens at `path`. */
export interface QmpTarget extends AsyncDisposable {
  readonly path: string;
}

function connect(target: QmpTarget): Promise<QmpClient> {
  return QmpClient.connect(target.path, { retryUntilPresent: true, timeoutMs: 10_000 });
}

/** What every QEMU must do, the fake one and the real one alike; each test gets a target of its own. */
export function describeQmpConformance(name: string, start: () => Promise<QmpTarget>): void {
  describe(`QMP conformance of ${name}`, () => {
    it("greets with its version", async () => {
      await using target = await start();
      await using client = await connect(target);
      expect(client.greeting.version.qemu.major).toBeGreaterThan(1);
      expect(await client.execute("query-version")).toEqual(client.greeting.version);
    });

    it("reports its run state", async () => {
      await using target = await start();
      await using client = await connect(target);
      const status = await client.execute("query-status");
      expect(status.running).toBe(false);
      expect(["prelaunch", "paused"]).toContain(status.status);
    });

    it("answers commands that are sent at once, each to its caller", async () => {
      await using target = await start();
      await using client = await connect(target);
      const [status, memory, version, ...more] = await Promise.all([
        client.execute("query-status"),
        client.execute("query-memory-size-summary").catch(() => undefined),
        client.execute("query-version"),
        ...Array.from({ length: 20 }, () => client.execute("query-status")),
      ]);
      expect(status).toHaveProperty("running", false);
      if (memory) expect(memory).toHaveProperty("base-memory");
      expect(version).toHaveProperty("qemu");
      for (const one of more) expect(one).toEqual(status);
    });

    it("refuses an unknown command by its name, and stays usable", async () => {
      await using target = await start();
      await using client = await connect(target);
      await expect(client.execute("no-such-command")).rejects.toMatchObject({
        code: "QMP_COMMAND_FAILED",
        details: { command: "no-such-command", class: "CommandNotFound" },
      });
      expect(await client.execute("query-status")).toHaveProperty("running");
    });

    it("takes out-of-band commands where it offers them", async () => {
      await using target = await start();
      await using client = await connect(target);
      expect(client.oobAvailable).toBe(client.greeting.capabilities.includes("oob"));
      if (!client.oobAvailable) return;
      // Allowed out of band, and an error because nothing is being migrated.
      const paused = client.execute("migrate-pause", {}, { oob: true });
      await expect(paused).rejects.toMatchObject({
        code: "QMP_COMMAND_FAILED",
        details: { desc: expect.not.stringContaining("OOB") },
      });
      const status = client.execute("query-status", undefined, { oob: true });
      await expect(status).rejects.toMatchObject({ code: "QMP_COMMAND_FAILED" });
    });

    it("announces cont and stop", async () => {
      await using target = await start();
      await using client = await connect(target);
      const resumed = client.waitForEvent("RESUME", { timeoutMs: 10_000 });
      await client.execute("cont");
      expect((await resumed).timestampMs).toBeGreaterThan(1_600_000_000_000);
      expect((await client.execute("query-status")).running).toBe(true);
      const stopped = client.waitForEvent("STOP", { timeoutMs: 10_000 });
      await client.execute("stop");
      await stopped;
      expect((await client.execute("query-status")).running).toBe(false);
    });

    it("accepts a client after the last one has left", async () => {
      await using target = await start();
      const first = await connect(target);
      await first.close();
      await using second = await connect(target);
      expect(await second.execute("query-status")).toHaveProperty("running");
    });

    it("settles what is pending when the connection is closed", async () => {
      await using target = await start();
      const client = await connect(target);
      const event = client.waitForEvent("RESUME");
      const gone = expect(event).rejects.toMatchObject({ code: "QMP_CLOSED" });
      await client.close();
      await gone;
      await expect(client.execute("query-status")).rejects.toMatchObject({ code: "QMP_CLOSED" });
    });

    it("ends the connection after quit, with an event", async () => {
      await using target = await start();
      await using client = await connect(target);
      const shutdown = client.waitForEvent("SHUTDOWN");
      const { promise: closed, resolve } = Promise.withResolvers<string>();
      client.events.on("close", ({ reason }) => resolve(reason));
      await client.execute("quit");
      expect((await shutdown).data).toMatchObject({ guest: false });
      expect(["eof", "error"]).toContain(await closed);
    });
  });
}
