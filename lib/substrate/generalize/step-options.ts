/** Of each question to a guest that is being made into a substrate. */
export interface StepOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}
