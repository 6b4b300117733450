/**
 * Runs `work` for every item, at most `limit` at a time, in order. When one fails, no further is begun and the signal
 * given to the others fires; the first error is thrown when all have settled, with what succeeded in `onUndo`.
 */
export async function allOrNothing<Item, Result>(
  items: readonly Item[],
  limit: number,
  outerSignal: AbortSignal,
  work: (item: Item, signal: AbortSignal) => Promise<Result>,
  undo: (result: Result) => Promise<void>,
): Promise<Result[]> {
  const failing = new AbortController();
  const signal = AbortSignal.any([outerSignal, failing.signal]);
  const results: Result[] = [];
  const queue = [...items.entries()];
  let failure: { readonly error: unknown } | undefined;
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined && !signal.aborted; next = queue.shift()) {
      const [index, item] = next;
      try {
        results[index] = await work(item, signal);
      } catch (error) {
        failure ??= { error };
        failing.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failure === undefined && !outerSignal.aborted) return results;
  await Promise.allSettled(results.filter((result) => result !== undefined).map(undo));
  throw failure?.error ?? outerSignal.reason;
}
