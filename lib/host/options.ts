/**
 * QEMU's comma-separated option syntax. A comma inside a value ends it, and what follows is read as another option, so
 * every comma is doubled (QEMU "Standard options": "the character ',' in values must be escaped as ',,'"). Used only
 * where QEMU takes no JSON.
 */
export function commaOptions(options: Readonly<Record<string, string | number | boolean>>, first?: string): string {
  const parts = Object.entries(options).map(([key, value]) => `${key}=${escapeValue(value)}`);
  return [...(first === undefined ? [] : [escapeValue(first)]), ...parts].join(",");
}

function escapeValue(value: string | number | boolean): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  return String(value).replaceAll(",", ",,");
}
