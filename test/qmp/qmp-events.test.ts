import { describe, expect, it } from "vitest";
import { eventLine } from "../support/fake-qmp-server.ts";
import { connected } from "../support/qmp-connection.ts";

describe("events of a QmpClient", () => {
  it("reach listeners of their name and of every event, with data and time", async () => {
    await using fake = await connected();
    const seen: unknown[] = [];
    fake.client.events.on("SHUTDOWN", ({ data, timestampMs }) => seen.push(data.guest, timestampMs));
    fake.client.events.on("event", ({ name }) => seen.push(name));
    fake.qemu.emit("SHUTDOWN", { guest: true, reason: "guest-shutdown" });
    fake.qemu.emit("SOMETHING_NEW");
    await fake.client.execute("query-status");
    expect(seen).toEqual(["SHUTDOWN", true, 1_700_000_000_500, "SOMETHING_NEW"]);
  });

  it("cannot be forged into those of this library", async () => {
    await using fake = await connected();
    const names: string[] = [];
    fake.client.events.on("event", ({ name }) => names.push(name));
    for (const name of ["close", "event", "__proto__", "constructor"]) fake.qemu.emit(name, { forged: true });
    await fake.client.execute("query-status");
    expect(fake.closes).toEqual([]);
    expect(names).toEqual(["close", "event", "__proto__", "constructor"]);
  });

  it("survive a listener that throws", async () => {
    const logged: string[] = [];
    const log = (_fields: unknown, text: string) => void logged.push(text);
    await using fake = await connected({}, { logger: { debug: log, info: log, warn: log, error: log } });
    fake.client.events.on("STOP", () => {
      throw new Error("a listener's bug");
    });
    const waited = fake.client.waitForEvent("STOP");
    fake.qemu.emit("STOP");
    await waited;
    expect(await fake.client.execute("query-status")).toHaveProperty("running");
    expect(logged).toEqual(["a listener of a QMP event threw"]);
  });

  it("do not pile up when nobody listens", async () => {
    await using fake = await connected();
    const before = process.memoryUsage().rss;
    const batch = eventLine("RTC_CHANGE", { offset: 1, "qom-path": "/machine/unattached/device[3]" }).repeat(1_000);
    for (let batches = 0; batches < 100; batches++) {
      fake.qemu.send(batch);
      await fake.client.execute("query-status");
    }
    // 100 000 events of 150 bytes; the fake that sends them lives in this process too.
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });

  it("can be waited for, by name and by content", async () => {
    await using fake = await connected();
    const opened = fake.client.waitForEvent("VSERPORT_CHANGE", { where: ({ data }) => data.open && data.id === "b" });
    const other = fake.client.waitForEvent<{ n: number }>("SOMETHING_NEW");
    fake.qemu.emit("VSERPORT_CHANGE", { id: "a", open: true });
    fake.qemu.emit("VSERPORT_CHANGE", { id: "b", open: false });
    fake.qemu.emit("VSERPORT_CHANGE", { id: "b", open: true });
    fake.qemu.emit("SOMETHING_NEW", { n: 3 });
    expect((await opened).data).toEqual({ id: "b", open: true });
    expect((await other).data.n).toBe(3);
  });

  it("that do not come in time, or are no longer wanted, reject", async () => {
    await using fake = await connected();
    await expect(fake.client.waitForEvent("STOP", { timeoutMs: 10 })).rejects.toMatchObject({ code: "TIMEOUT" });
    const controller = new AbortController();
    const aborted = fake.client.waitForEvent("STOP", { signal: controller.signal });
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("reject whoever waits with a condition that throws, and nobody else", async () => {
    await using fake = await connected();
    const waiting = fake.client.waitForEvent("STOP", {
      where: () => {
        throw new Error("a condition's bug");
      },
    });
    const broken = expect(waiting).rejects.toThrow("a condition's bug");
    const fine = fake.client.waitForEvent("STOP");
    fake.qemu.emit("STOP");
    await broken;
    expect((await fine).name).toBe("STOP");
  });
});
