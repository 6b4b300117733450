/** What forks get that their source has not. */
export interface ForkOptions {
  /** As `ActivateSpec.hostname`. */
  readonly hostname?: string | readonly string[] | undefined;
  /** OpenSSH public keys that may log in as root; the source's own are not kept. */
  readonly authorizedKeys?: readonly string[] | undefined;
  /** For every `exec`, in addition to the source's. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Must end with status 0 in each fork before anybody gets it. Milliseconds; default 60 000. */
  readonly run?: { readonly argv: readonly string[]; readonly timeoutMs?: number | undefined } | undefined;
  /** Default: none. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds until a fork expires. Default: never. */
  readonly ttlMs?: number | undefined;
  /** Wait, in line with others, while memory or addresses are short, rather than fail. Default false. */
  readonly wait?: boolean | undefined;
  /** Milliseconds for the whole call. Default 120 000. */
  readonly timeoutMs?: number | undefined;
  /** In the log lines and the event `failed` of this call: 1 to 64 printable characters. Default: a random one. */
  readonly callId?: string | undefined;
  /** Aborting undoes all that the call has begun. */
  readonly signal?: AbortSignal | undefined;
}

/** What taking the instant has cost the source. */
export interface ForkReport {
  readonly count: number;
  /** How long the source stood still, milliseconds. */
  readonly pauseMs: number;
  /** From the call to the source running again on its own, milliseconds. */
  readonly captureMs: number;
  /** Bytes of the source's memory that were copied. */
  readonly copiedBytes: number;
}
