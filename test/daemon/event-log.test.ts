import { describe, expect, it } from "vitest";
import { EventLog } from "../../daemon/event-log.ts";

const removed = (log: EventLog, version: number) => log.add("removed", { substrate: { name: "mini", version } });
const versions = (events: ReturnType<EventLog["since"]>) =>
  events?.map(({ data }) => ("substrate" in data && typeof data.substrate === "object" ? data.substrate.version : -1));

describe("the event log", () => {
  it("numbers events and gives those after one that was seen", () => {
    const log = new EventLog();
    const start = log.lastId;
    for (let i = 1; i <= 5; i++) removed(log, i);
    expect(versions(log.since(start))).toEqual([1, 2, 3, 4, 5]);
    const third = log.since(start)?.[2]?.id ?? "";
    expect(versions(log.since(third))).toEqual([4, 5]);
    expect(log.since(log.lastId)).toEqual([]);
    expect(new Set(log.since(start)?.map(({ id }) => id)).size).toBe(5);
  });

  it("knows no ids of another life, of the future, or of nobody", () => {
    const [log, other] = [new EventLog(), new EventLog()];
    removed(log, 1);
    removed(other, 1);
    const [epoch = ""] = log.lastId.split(/-\d+$/);
    for (const id of [
      other.lastId,
      `${epoch}-2`,
      `${epoch}--1`,
      `${epoch}-`,
      `${epoch}-1e0`,
      `${epoch}-0x1`,
      epoch,
      "",
      "-",
    ]) {
      expect(log.since(id), id).toBeUndefined();
    }
    for (const id of [`${epoch}-1.5`, `${epoch}-NaN`, `${epoch}- 1`, `${epoch}-1-1`, "__proto__-1", "\0"]) {
      expect(log.since(id), id).toBeUndefined();
    }
  });

  it("forgets what is too old, by number", () => {
    const log = new EventLog();
    const start = log.lastId;
    removed(log, 0);
    const first = log.lastId;
    for (let i = 1; i <= 10_100; i++) removed(log, i);
    expect(log.since(start)).toBeUndefined();
    expect(log.since(first)).toBeUndefined();
    removed(log, 1);
    expect(log.since(log.lastId)).toEqual([]);
  });

  it("forgets what is too old, by size: no more is kept than a reader may be behind", () => {
    const log = new EventLog();
    const start = log.lastId;
    const error = { type: "", title: "", status: 500, detail: "x".repeat(100_000), code: "TIMEOUT" };
    for (let i = 0; i < 30; i++) {
      log.add("failed", { callId: String(i), what: "activate", substrate: "mini", count: 1, error });
    }
    expect(log.since(start)).toBeUndefined();
    const [epoch] = log.lastId.split(/-\d+$/);
    expect(log.since(`${epoch}-25`)).toHaveLength(5);
  });

  it("tells its listeners, in order, until they are done", () => {
    const log = new EventLog();
    const heard: string[] = [];
    const end = log.listen(({ id }) => heard.push(id));
    removed(log, 1);
    removed(log, 2);
    end();
    end();
    removed(log, 3);
    expect(heard).toHaveLength(2);
  });

  it("tells the others when one listener throws, and whoever adds the event is not hit by it", () => {
    const log = new EventLog();
    const heard: string[] = [];
    log.listen(() => {
      throw new Error("bad listener");
    });
    log.listen(({ type }) => heard.push(type));
    const warnings: unknown[] = [];
    const onWarning = (warning: unknown) => warnings.push(warning);
    process.once("warning", onWarning);
    removed(log, 1);
    expect(heard).toEqual(["removed"]);
  });
});
