import type { Logger, VmSubstrateError } from "../core/index.ts";
import type { QmpEvent, QmpEventName, QmpEvents } from "./qmp-events.ts";

export interface QmpConnectOptions {
  /** Milliseconds for connecting, the greeting and the negotiation together. Default DEFAULT_CONNECT_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly logger?: Logger | undefined;
  /**
   * For a QEMU that is still starting: keep trying while the socket is not there, and connect again when it ends the
   * connection or falls silent before it is ready. Default false.
   */
  readonly retryUntilPresent?: boolean | undefined;
  /** Longest message of QEMU in bytes. Default DEFAULT_MAX_LINE_BYTES (1 MiB). */
  readonly maxLineBytes?: number | undefined;
}

export interface QmpExecuteOptions {
  /** Milliseconds. Default DEFAULT_QMP_COMMAND_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Run it out of band, past commands that are still running. Only a few commands allow it. Default false. */
  readonly oob?: boolean | undefined;
}

export interface WaitForEventOptions<Data> {
  /** Milliseconds. Default DEFAULT_EVENT_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Takes the first event for which this is true. */
  readonly where?: ((event: QmpEvent<Data>) => boolean) | undefined;
}

export interface QmpClose {
  /** `eof` and `error`: QEMU or the kernel ended it. `protocol`: the peer broke the protocol. `local`: `close()`. */
  readonly reason: "eof" | "error" | "protocol" | "local";
  /** What commands still pending were rejected with: QMP_CLOSED or QMP_PROTOCOL. */
  readonly error: VmSubstrateError;
}

/** Event name -> listener arguments. `event` carries every event of QEMU, `close` the end of the connection. */
export type QmpClientEvents = {
  [Name in QmpEventName]: [event: QmpEvent<QmpEvents[Name]>];
} & { event: [event: QmpEvent]; close: [close: QmpClose] };
