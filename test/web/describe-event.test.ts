import { expect, it } from "vitest";
import { type DaemonEvent, EVENT_TYPES } from "../../api/index.ts";
import { describeEvent, toneOf } from "../../web/state/describe-event.ts";
import { fakeDock, fakeOperation, fakeSubstrate, fakeVm } from "../support/fake-views.ts";

const vm = fakeVm(1);
const error = {
  type: "urn:vm-substrate:error:QEMU_EXITED",
  title: "",
  status: 500,
  detail: "it ended",
  code: "QEMU_EXITED",
};
const DATA = {
  activated: { vm },
  released: { vm },
  exit: { vm, code: null, signal: "SIGKILL" },
  parked: { vm },
  resumed: { vm },
  shrunk: { vm },
  extended: { vm },
  unresponsive: { vm, error },
  responsive: { vm },
  forked: { vm, report: { count: 2, pauseMs: 400, captureMs: 500, copiedBytes: 1024 ** 2 } },
  waiting: { substrate: "mini", count: 3, position: 1 },
  failed: { substrate: "mini", count: 3, callId: "c", what: "activate", error },
  dock: { dock: fakeDock() },
  undocked: { dock: fakeDock({ pinned: true }) },
  built: { substrate: fakeSubstrate() },
  removed: { substrate: { name: "mini", version: 3 } },
  operation: { operation: fakeOperation() },
};

it.each(EVENT_TYPES)("says in words what %s means", (type) => {
  const event = { id: "1", type, at: "2026-01-15T12:00:00Z", data: DATA[type] } as DaemonEvent;
  expect(describeEvent(event)).toMatch(/web-1|mini|build/);
  expect(describeEvent(event)).not.toMatch(/undefined|\[object/);
  expect(["good", "plain", "warn", "bad"]).toContain(toneOf(event));
});

it("says nothing of a type that it does not know", () => {
  const novel = { id: "1", type: "novel", at: "2026-01-15T12:00:00Z", data: {} } as unknown as DaemonEvent;
  expect(describeEvent(novel)).toBe("");
});
