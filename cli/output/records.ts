import { stringify as csv } from "csv-stringify/sync";
import { stringify as yaml } from "yaml";

export const FORMATS = ["table", "json", "yaml", "csv"] as const;
export type Format = (typeof FORMATS)[number];

/** For programs: everything, numbers as numbers. */
export function records(value: unknown, format: Exclude<Format, "table">): string {
  switch (format) {
    case "json":
      return `${JSON.stringify(value, null, 2)}\n`;
    case "yaml":
      return yaml(value, { aliasDuplicateObjects: false });
    case "csv":
      return csvOf(Array.isArray(value) ? value : [value], true);
  }
}

/** One of many that come one after another: a line of JSON, a document of YAML, a row. */
export function recordOf(value: unknown, format: Exclude<Format, "table">, isFirst: boolean): string {
  switch (format) {
    case "json":
      return `${JSON.stringify(value)}\n`;
    case "yaml":
      return `---\n${yaml(value, { aliasDuplicateObjects: false })}`;
    case "csv":
      return csvOf([value], isFirst);
  }
}

function csvOf(values: readonly unknown[], hasHead: boolean): string {
  const rows = values.map(flat);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  // What a spreadsheet would take for a formula may come from a label. Source: OWASP, "CSV Injection".
  return csv(rows, { header: hasHead && columns.length > 0, columns, escape_formulas: true });
}

/** Fields of fields as "timingsMs.total"; lists as JSON. */
function flat(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return { value: cell(value) };
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, field]: [string, unknown]) =>
      typeof field === "object" && field !== null && !Array.isArray(field)
        ? Object.entries(flat(field)).map(([inner, text]) => [`${name}.${inner}`, text])
        : [[name, cell(field)]],
    ),
  );
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
