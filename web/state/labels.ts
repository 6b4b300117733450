export type LabelsRead =
  | { readonly labels: Readonly<Record<string, string>> }
  /** What is wrong with it. */
  | { readonly problem: string };

/** Labels as they are written into a field: `match=17, tier=free`. A word without `=` is a key with an empty value. */
export function parseLabels(text: string): LabelsRead {
  const labels: Record<string, string> = Object.create(null);
  for (const entry of text.split(/[,\n]/)) {
    const trimmed = entry.trim();
    if (trimmed === "") continue;
    const at = trimmed.indexOf("=");
    const key = (at < 0 ? trimmed : trimmed.slice(0, at)).trim();
    if (key === "") return { problem: `"${trimmed}" has no key; labels look like match=17, tier=free.` };
    if (key in labels) return { problem: `The label ${key} is there twice.` };
    labels[key] = at < 0 ? "" : trimmed.slice(at + 1).trim();
  }
  return { labels: { ...labels } };
}
