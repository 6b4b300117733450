import type { OperationView } from "../../api/index.ts";

/** Work that is over sooner is not worth a line. */
const LONG_MS = 1000;

/** @param until Unix time, milliseconds: its end, or now */
export function isLong({ createdAt }: OperationView, until: number): boolean {
  return until - Date.parse(createdAt) >= LONG_MS;
}
