/** Bytes in a KiB and MiB. Names of quantities carry their unit: `memoryMiB`, `capBytes`. */
export const KIB = 1024;
export const MIB = 1024 * KIB;

/** Bytes as MiB with one digit, for people. */
export function formatMiB(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}
