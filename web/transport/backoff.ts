const FIRST_MS = 500;
const LONGEST_MS = 15_000;
/** Also the shortest pause is one: a server that just restarts shall not be asked a hundred times. */
const SHORTEST_MS = 100;

/**
 * How long to wait before the next try: twice as long each time, and by chance anything up to that, so that many pages do not
 * come back at once. Source: "Exponential Backoff And Jitter" (AWS Architecture Blog), "full jitter".
 * @param failures in a row, at least 1
 * @param random from 0 to 1
 */
export function backoffMs(failures: number, random: number): number {
  const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1));
  return Math.round(SHORTEST_MS + random * (longest - SHORTEST_MS));
}
