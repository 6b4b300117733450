/**
 * Runs `work` for every item, at most `limit` at a time, in order; each settles for itself. When `failFast`, the first failure
 * fires the signal that the others are given, and no further is begun: those are rejected with that failure.
 */
export async function settleBounded<Item, Result>(
  items: readonly Item[],
  options: { readonly limit: number; readonly signal: AbortSignal; readonly failFast: boolean },
  work: (item: Item, signal: AbortSignal) => Promise<Result>,
): Promise<PromiseSettledResult<Result>[]> {
  const failing = new AbortController();
  const signal = AbortSignal.any([options.signal, failing.signal]);
  const results: PromiseSettledResult<Result>[] = [];
  const queue = [...items.entries()];
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [index, item] = next;
      try {
        signal.throwIfAborted();
        results[index] = { status: "fulfilled", value: await work(item, signal) };
      } catch (reason) {
        results[index] = { status: "rejected", reason };
        if (options.failFast) failing.abort(reason);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.limit, items.length) }, worker));
  return results;
}
