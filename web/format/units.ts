/** What is shown where a value is not known. */
export const UNKNOWN = "–";

// Made once: to make one takes longer than to draw a row.
const NUMBER = new Intl.NumberFormat("en-US");
const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const INSTANT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Three digits that count, and the unit: `96.0 MiB`, `1.25 GiB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), BYTE_UNITS.length - 1);
  const value = bytes / 1024 ** power;
  if (power === 0) return `${Math.round(value)} B`;
  // 1023.9 MiB is 1.00 GiB when it is rounded to three digits.
  if (value >= 1000 && power < BYTE_UNITS.length - 1) return `${(value / 1024).toFixed(2)} ${BYTE_UNITS[power + 1]}`;
  return `${threeDigits(value)} ${BYTE_UNITS[power]}`;
}

export function formatMiB(mebibytes: number): string {
  return formatBytes(mebibytes * 1024 ** 2);
}

/** How long something took: `0.40 ms`, `12.3 ms`, `1.24 s`, `2 min 5 s`. */
export function formatMs(ms: number): string {
  if (ms < 0.005) return ms <= 0 ? "0 ms" : "< 0.01 ms";
  if (ms < 999.5) return `${threeDigits(ms)} ms`;
  if (ms < 59_950) return `${threeDigits(ms / 1000)} s`;
  return formatSpan(ms);
}

/** Above 100 no digit behind the point, below 10 two. */
function threeDigits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value.toFixed(value >= 9.995 ? 1 : 2);
}

const SPANS = [
  ["d", 86_400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
] as const;

/** A length of time by its two largest units: `3 d 4 h`, `5 min 12 s`, `0 s`. */
export function formatSpan(ms: number): string {
  return spanParts(ms).join(" ");
}

/** The two parts by themselves, for where there may be room for the first only. */
export function spanParts(ms: number): string[] {
  let seconds = Math.max(0, Math.floor(ms / 1000));
  const parts: string[] = [];
  for (const [unit, size] of SPANS) {
    const whole = Math.floor(seconds / size);
    seconds -= whole * size;
    if (whole > 0) parts.push(`${whole} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.length === 0 ? ["0 s"] : parts;
}

/** `1 VM`, `2 VMs`, `1,204 VMs`. */
export function formatCount(count: number, one: string, many = `${one}s`): string {
  return `${formatNumber(count)} ${count === 1 ? one : many}`;
}

export function formatNumber(value: number): string {
  return NUMBER.format(value);
}

/** A share of a whole, `0` to `100`, for bars. */
export function percentOf(part: number, whole: number): number {
  return whole <= 0 ? 0 : Math.min(100, Math.max(0, (part / whole) * 100));
}

/** The time of day on the reader's clock: `14:03:22`. */
export function formatTime(instant: string | number): string {
  return TIME.format(new Date(instant));
}

/** Day and time, for a tooltip or where the day matters. */
export function formatInstant(instant: string | number): string {
  return INSTANT.format(new Date(instant));
}
