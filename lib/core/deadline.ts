import { type ErrorCode, VmSubstrateError } from "./errors.ts";

export interface DeadlineOptions {
  /** What is being waited for, for the error's message: "QMP greeting", "load of the device state". */
  readonly what: string;
  readonly timeoutMs: number;
  /** The caller's own signal; when it fires the result is ABORTED rather than the timeout's code. */
  readonly signal?: AbortSignal | undefined;
  /** The code of the error when time runs out. */
  readonly timeoutCode?: ErrorCode;
}

/**
 * Runs `work` under a timeout merged with the caller's AbortSignal.
 *
 * `work` gets one signal that fires for either reason. The returned promise settles at that moment, even when `work`
 * ignores its signal, so a peer that never answers cannot hold a caller. A late rejection of `work` is swallowed.
 *
 * @throws VmSubstrateError `timeoutCode` (TIMEOUT unless given) or ABORTED, or whatever `work` throws
 */
export async function withDeadline<T>(options: DeadlineOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  throwIfAborted(options.signal, options.what);
  const controller = new AbortController();
  const { promise: stopped, reject } = Promise.withResolvers<never>();
  const stop = (error: VmSubstrateError) => {
    reject(error);
    controller.abort(error);
  };
  const timer = setTimeout(() => {
    const code = options.timeoutCode ?? "TIMEOUT";
    stop(
      new VmSubstrateError(code, `${options.what}: no result within ${options.timeoutMs} ms`, {
        details: { timeoutMs: options.timeoutMs },
      }),
    );
  }, options.timeoutMs);
  const onAbort = () => stop(abortedError(options.signal, options.what));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  stopped.catch(() => {});
  try {
    return await Promise.race([work(controller.signal), stopped]);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
  }
}

/**
 * As `withDeadline`, for work that undoes itself: its signal fires in time, but the result waits until `work` has
 * settled, so that nothing is left when the caller hears of it.
 *
 * @param undo for a result that came too late to be handed out
 * @throws VmSubstrateError the timeout's or abort's error when the signal fired, else whatever `work` throws
 */
export async function withDeadlineAndUndo<T>(
  options: DeadlineOptions,
  work: (signal: AbortSignal) => Promise<T>,
  undo: (result: T) => Promise<void>,
): Promise<T> {
  let working: Promise<T> | undefined;
  try {
    return await withDeadline(options, (signal) => {
      working = work(signal);
      return working;
    });
  } catch (error) {
    const late = await working?.then(
      (result) => ({ result }),
      () => undefined,
    );
    if (late !== undefined) await undo(late.result);
    throw error;
  }
}

/** @throws VmSubstrateError ABORTED when the signal has fired */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw abortedError(signal, what);
}

/** An inner deadline's own error passes through unchanged, so that a timeout is not reported as somebody's abort. */
/** The error of a call whose caller has given up. */
export function abortedError(signal: AbortSignal | undefined, what: string): VmSubstrateError {
  if (signal?.reason instanceof VmSubstrateError) return signal.reason;
  return new VmSubstrateError("ABORTED", `${what}: aborted by the caller`, { cause: signal?.reason });
}
