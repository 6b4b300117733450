import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { errorText } from "../../cli/output/errors.ts";
import { Progress } from "../../cli/output/progress.ts";
import { recordOf, records } from "../../cli/output/records.ts";
import { type Column, sheet, table } from "../../cli/output/table.ts";
import { VmSubstrateError } from "../../lib/index.ts";
import { FakeScreen } from "../support/cli.ts";

const plain = (_style: unknown, text: string) => text;
const ROWS = [
  { name: "a", size: 7, labels: { match: "17" }, list: [1, 2], none: null },
  { name: "long", size: 12_345, labels: {}, list: [], none: null },
];

describe("records", () => {
  it("are the same in JSON and YAML, with numbers as numbers", () => {
    expect(JSON.parse(records(ROWS, "json"))).toEqual(ROWS);
    expect(parse(records(ROWS, "yaml"))).toEqual(ROWS);
  });

  it("are flat in CSV", () => {
    expect(records(ROWS, "csv")).toBe('name,size,labels.match,list,none\na,7,17,"[1,2]",\nlong,12345,,[],\n');
  });

  it("of CSV are no formulas of a spreadsheet", () => {
    expect(records([{ label: "=HYPERLINK(1)" }], "csv")).toBe("label\n'=HYPERLINK(1)\n");
  });

  it("that come one after another are a line of JSON each, documents of YAML, and rows under one head", () => {
    expect(recordOf({ a: 1 }, "json", false)).toBe('{"a":1}\n');
    expect(recordOf({ a: 1 }, "yaml", false)).toBe("---\na: 1\n");
    expect(recordOf({ a: 1 }, "csv", true) + recordOf({ a: 2 }, "csv", false)).toBe("a\n1\n2\n");
  });
});

describe("a table", () => {
  const columns: readonly Column<{ name: string; size: number }>[] = [
    { head: "NAME", of: ({ name }) => name },
    { head: "SIZE", align: "right", of: ({ size }) => String(size) },
  ];

  it("has columns without lines, and no spaces at the ends of lines", () => {
    expect(table(ROWS, columns, plain)).toBe("NAME    SIZE\na          7\nlong   12345\n");
  });

  it("shows what is empty as -", () => {
    expect(table([{ name: "", size: 1 }], columns, plain)).toBe("NAME   SIZE\n-         1\n");
  });

  it("gives the terminal no control characters of others", () => {
    const shown = table([{ name: "\x1b[2Jx\r\n\u202ey", size: 1 }], columns, plain) + sheet([["a", "\x07"]], plain);
    expect(shown.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\u202e]/u);
    expect(shown).toContain("\\u001b[2Jx\\u000d\\u000a\\u202ey");
  });
});

describe("errors", () => {
  const error = new VmSubstrateError("VM_GONE", "VM a is gone\nreally", {
    cause: new Error("outer", { cause: new Error("inner") }),
    details: { id: "x" },
  });
  const style = { format: "table", verbose: false, debug: false } as const;

  it("are one line of code and message", () => {
    expect(errorText(new VmSubstrateError("VM_GONE", "VM a is gone"), style)).toBe(
      "substrate: VM_GONE: VM a is gone\n",
    );
  });

  it("have details and causes with --verbose", () => {
    expect(errorText(error, { ...style, verbose: true })).toBe(
      'substrate: VM_GONE: VM a is gone\nreally\n  id: "x"\n  caused by: outer\n  caused by: inner\n',
    );
  });

  it("are problems with --format json", () => {
    expect(JSON.parse(errorText(error, { ...style, format: "json" }))).toEqual({
      type: "urn:vm-substrate:error:VM_GONE",
      title: "The VM was released or its process has ended.",
      detail: "VM a is gone\nreally",
      code: "VM_GONE",
      details: { id: "x" },
    });
  });

  it("have stack traces only where they are asked for", () => {
    const mistake = new TypeError("a mistake");
    expect(errorText(mistake, style)).toBe("substrate: INTERNAL_ERROR: a mistake\n");
    expect(errorText(mistake, { ...style, debug: true })).toContain("output.test.ts");
  });
});

describe("progress", () => {
  it("is one line that goes away on a terminal", () => {
    const screen = new FakeScreen(true);
    {
      using progress = new Progress(screen, false);
      progress.show("building");
    }
    expect(screen.text).toContain("building");
    expect(screen.text.endsWith("\r\x1b[2K")).toBe(true);
  });

  it("is silent elsewhere, unless lines are asked for", () => {
    const screen = new FakeScreen(false);
    using silent = new Progress(screen, false);
    silent.show("one");
    expect(screen.text).toBe("");
    using verbose = new Progress(screen, true);
    verbose.show("one");
    verbose.show("one");
    verbose.show("two");
    expect(screen.text).toBe("one\ntwo\n");
  });
});
