import Table from "cli-table3";
import type { Paint } from "./colours.ts";
import { printable } from "./printable.ts";

/** One column of a table for people. */
export interface Column<Row> {
  readonly head: string;
  readonly align?: "left" | "right";
  of(row: Row): string;
}

const LINES = [
  "top",
  "top-mid",
  "top-left",
  "top-right",
  "bottom",
  "bottom-mid",
  "bottom-left",
  "bottom-right",
  "left",
  "left-mid",
  "mid",
  "mid-mid",
  "right",
  "right-mid",
] as const;
const GAP = "   ";
const NO_LINES = { ...Object.fromEntries(LINES.map((name) => [name, ""])), middle: GAP };

/** Columns without lines, a head above them. */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[], paint: Paint): string {
  const drawn = new Table({
    chars: NO_LINES,
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
    colAligns: columns.map(({ align = "left" }) => align),
  });
  drawn.push(columns.map(({ head }) => paint("bold", head)));
  for (const row of rows) drawn.push(columns.map((column) => printable(column.of(row)) || "-"));
  return trimmed(drawn.toString());
}

/** One thing, a line for each of its properties. */
export function sheet(rows: readonly (readonly [name: string, value: string])[], paint: Paint): string {
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return `${rows.map(([name, value]) => `${paint("bold", name.padEnd(width))}  ${printable(value) || "-"}`).join("\n")}\n`;
}

function trimmed(text: string): string {
  return `${text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")}\n`;
}
