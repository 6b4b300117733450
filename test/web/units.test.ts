import { describe, expect, it } from "vitest";
import { formatBytes, formatCount, formatMs, formatSpan, percentOf } from "../../web/format/units.ts";

const MIB = 1024 ** 2;

describe("formatBytes", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.00 KiB"],
    [38 * MIB, "38.0 MiB"],
    [96.04 * MIB, "96.0 MiB"],
    [999.4 * MIB, "999 MiB"],
    [1023.9 * MIB, "1.00 GiB"],
    [8192 * MIB, "8.00 GiB"],
    [12.34 * 1024 * MIB, "12.3 GiB"],
  ])("%d is %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

describe("formatMs", () => {
  it.each([
    [0, "0 ms"],
    [0.001, "< 0.01 ms"],
    [0.4, "0.40 ms"],
    [9.994, "9.99 ms"],
    [9.996, "10.0 ms"],
    [12.34, "12.3 ms"],
    [99.96, "100 ms"],
    [999.4, "999 ms"],
    [999.6, "1.00 s"],
    [1240, "1.24 s"],
    [59_940, "59.9 s"],
    [125_000, "2 min 5 s"],
  ])("%d is %s", (ms, text) => {
    expect(formatMs(ms)).toBe(text);
  });
});

describe("formatSpan", () => {
  it.each([
    [-5, "0 s"],
    [59_999, "59 s"],
    [60_000, "1 min"],
    [312_000, "5 min 12 s"],
    [3_600_000, "1 h"],
    [3_605_000, "1 h"],
    [93_600_000, "1 d 2 h"],
  ])("%d ms is %s", (ms, text) => {
    expect(formatSpan(ms)).toBe(text);
  });
});

it("counts in the singular and the plural", () => {
  expect([formatCount(1, "VM"), formatCount(0, "VM"), formatCount(1204, "VM")]).toEqual(["1 VM", "0 VMs", "1,204 VMs"]);
});

it("gives shares between nothing and all, also of nothing", () => {
  expect([percentOf(1, 4), percentOf(5, 4), percentOf(-1, 4), percentOf(1, 0)]).toEqual([25, 100, 0, 0]);
});
