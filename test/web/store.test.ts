import { expect, it } from "vitest";
import { createStore } from "../../web/state/store.ts";
import { fakeOperation } from "../support/fake-views.ts";

const changed = (id: string) => ({ type: "operations", operations: [fakeOperation({ id })] }) as const;

it("tells of many changes once, at the time that it is given, with all of them made", () => {
  const scheduled: (() => void)[] = [];
  const store = createStore((tell) => scheduled.push(tell));
  const seen: number[] = [];
  const end = store.subscribe(() => seen.push(store.state.operations.size));
  store.dispatch(changed("a"), changed("b"));
  store.dispatch(changed("c"));
  expect([scheduled.length, seen.length]).toEqual([1, 0]);
  scheduled[0]?.();
  expect(seen).toEqual([3]);
  store.dispatch(changed("d"));
  expect(scheduled).toHaveLength(2);
  end();
  scheduled[1]?.();
  expect(seen).toEqual([3]);
});
