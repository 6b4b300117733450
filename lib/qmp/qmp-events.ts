/**
 * The QMP events that this project uses, as QEMU 7.2 defines them: name -> `data`.
 *
 * Source: https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html
 */
export interface QmpEvents {
  STOP: NoData;
  RESUME: NoData;
  SHUTDOWN: { readonly guest: boolean; readonly reason: string };
  RESET: { readonly guest: boolean; readonly reason: string };
  /** Only with the migration capability `events`. */
  MIGRATION: { readonly status: string };
  /** Sent once, then again only after a `query-rx-filter` of that NIC. */
  NIC_RX_FILTER_CHANGED: { readonly name?: string; readonly path: string };
  DEVICE_DELETED: { readonly device?: string; readonly path: string };
  GUEST_PANICKED: { readonly action: string };
  /** The guest opened or closed a virtio-serial port, e.g. its agent started. */
  VSERPORT_CHANGE: { readonly id: string; readonly open: boolean };
  JOB_STATUS_CHANGE: { readonly id: string; readonly status: string };
  BLOCK_IO_ERROR: {
    readonly device: string;
    readonly "node-name"?: string;
    readonly operation: string;
    readonly action: string;
    readonly nospace?: boolean;
    readonly reason: string;
  };
}

export type QmpEventName = keyof QmpEvents;
type NoData = Readonly<Record<string, never>>;

export interface QmpEvent<Data = Readonly<Record<string, unknown>>> {
  readonly name: string;
  /** `{}` for an event without data. */
  readonly data: Data;
  /** QEMU's clock in milliseconds since the epoch; undefined when QEMU could not read it. */
  readonly timestampMs: number | undefined;
}
