import { expect, it, vi } from "vitest";
import { type EventSource, Events } from "../../lib/core/index.ts";

interface Counted extends Record<string, unknown[]> {
  count: [value: number];
}

it("calls listeners with the arguments of the event until they are taken off", () => {
  const events = new Events<Counted>();
  const source: EventSource<Counted> = events;
  const always = vi.fn<(value: number) => void>();
  const once = vi.fn<(value: number) => void>();
  source.on("count", always);
  source.once("count", once);
  events.emit("count", 1);
  events.emit("count", 2);
  source.off("count", always);
  events.emit("count", 3);
  expect(always.mock.calls).toEqual([[1], [2]]);
  expect(once.mock.calls).toEqual([[1]]);
});
