import { describe, expect, it } from "vitest";
import { DEFAULT_SORT, labelsOf, listVms, MAX_ROWS } from "../../web/state/vm-list.ts";
import { fakeVm } from "../support/fake-views.ts";

const vms = [
  fakeVm(1, { hostname: "node-10", labels: { match: "17", tier: "free" } }),
  fakeVm(2, { hostname: "node-9", state: "parked", labels: {} }),
  fakeVm(3, { hostname: "db-1", expiresAt: "2026-01-15T13:00:00Z" }),
];

function names(filter: string, sort = DEFAULT_SORT): string[] {
  return listVms(vms, filter, sort).rows.map(({ hostname }) => hostname);
}

describe("the filter", () => {
  it.each([
    ["", ["db-1", "node-9", "node-10"]],
    ["NODE", ["node-9", "node-10"]],
    ["parked", ["node-9"]],
    ["match=17", ["node-10"]],
    ["node mini@3 free", ["node-10"]],
    ["10.77.0.3", ["db-1"]],
    ["cloned", ["db-1"]],
    ["nothing", []],
  ])("%j finds %j", (filter, found) => {
    expect(names(filter)).toEqual(found);
  });
});

describe("the order", () => {
  it("is by number within names, and never comes last", () => {
    expect(names("", { by: "hostname", descending: false })).toEqual(["db-1", "node-9", "node-10"]);
    expect(names("", { by: "hostname", descending: true })).toEqual(["node-10", "node-9", "db-1"]);
    expect(names("", { by: "expires", descending: false })[0]).toBe("db-1");
  });
});

it("draws a few hundred rows, and counts the others", () => {
  const many = Array.from({ length: MAX_ROWS + 61 }, (_, i) => fakeVm(i + 1));
  const list = listVms(many, "", DEFAULT_SORT);
  expect([list.rows.length, list.matching, list.all]).toEqual([MAX_ROWS, MAX_ROWS + 61, MAX_ROWS + 61]);
});

it("shows a label without a value as its key", () => {
  expect(labelsOf(fakeVm(1, { labels: { match: "17", canary: "" } }))).toEqual(["match=17", "canary"]);
});
