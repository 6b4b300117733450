import { VmSubstrateError } from "../lib/index.ts";

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const PART = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;
const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/;

/** Milliseconds of "30s", "5m", "1h30m", "2d". @throws VmSubstrateError INVALID_ARGUMENT */
export function parseDuration(text: string): number {
  if (!DURATION.test(text)) {
    throw new VmSubstrateError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(text)}: expected a duration, as 30s, 5m, 1h30m or 2d`,
    );
  }
  let ms = 0;
  for (const [, number = "", unit = ""] of text.matchAll(PART)) ms += Number(number) * (UNIT_MS[unit] ?? Number.NaN);
  return Math.round(ms);
}

/** For people: the two largest units, "1h30m", "250ms". */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  let rest = Math.round(ms / 1000) * 1000;
  const parts: string[] = [];
  for (const unit of ["d", "h", "m", "s"]) {
    const size = UNIT_MS[unit] ?? Number.NaN;
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    if (whole > 0) parts.push(`${whole}${unit}`);
    if (parts.length === 2) break;
  }
  return parts.join("");
}

/** For people: "96.0 MiB". */
export function formatBytes(bytes: number): string {
  let size = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024) return unit === "B" ? `${size} B` : `${size.toFixed(1)} ${unit}`;
    size /= 1024;
  }
  return `${size.toFixed(1)} TiB`;
}
