/**
 * The QMP commands that this project uses, as QEMU 7.2 defines them: arguments (`args`) and what `return` carries
 * (`result`). Every other command goes through the generic form of `execute`.
 *
 * Source: https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html
 */
export interface QmpCommands {
  "query-status": { args: NoArguments; result: StatusInfo };
  "query-version": { args: NoArguments; result: VersionInfo };
  "query-migrate": { args: NoArguments; result: MigrationInfo };
  migrate: { args: MigrateArguments; result: EmptyResult };
  "migrate-incoming": { args: { uri: string }; result: EmptyResult };
  "migrate-set-capabilities": { args: { capabilities: readonly MigrationCapabilityStatus[] }; result: EmptyResult };
  "migrate-set-parameters": { args: MigrationParameters; result: EmptyResult };
  migrate_cancel: { args: NoArguments; result: EmptyResult };
  stop: { args: NoArguments; result: EmptyResult };
  cont: { args: NoArguments; result: EmptyResult };
  quit: { args: NoArguments; result: EmptyResult };
  /** `name` is the id of the network device or back end; `up: false` is a pulled cable. */
  set_link: { args: { name: string; up: boolean }; result: EmptyResult };
  "query-rx-filter": { args: { name?: string }; result: readonly RxFilterInfo[] };
  "query-block": { args: NoArguments; result: readonly BlockInfo[] };
  /** With `flat`, each node without what is below it. */
  "query-named-block-nodes": { args: { flat?: boolean }; result: readonly NamedBlockNode[] };
  /** Copies into `device` what is between it and `base-node`. `speed` is in bytes per second. */
  "block-stream": { args: BlockStreamArguments; result: EmptyResult };
  "query-block-jobs": { args: NoArguments; result: readonly BlockJobInfo[] };
  "block-job-cancel": { args: { device: string; force?: boolean }; result: EmptyResult };
  "query-cpus-fast": { args: NoArguments; result: readonly CpuInfoFast[] };
  "query-memory-size-summary": { args: NoArguments; result: MemoryInfo };
  device_add: { args: { driver: string; id?: string; bus?: string } & AnyProperties; result: EmptyResult };
  /** Only asks the guest; the device is gone when DEVICE_DELETED says so. */
  device_del: { args: { id: string }; result: EmptyResult };
  "blockdev-add": { args: { driver: string; "node-name"?: string } & AnyProperties; result: EmptyResult };
  "object-add": { args: { "qom-type": string; id: string } & AnyProperties; result: EmptyResult };
  /** `value` is the size that the guest should have, in bytes. */
  balloon: { args: { value: number }; result: EmptyResult };
  /** `actual` is the size that the guest has, in bytes. */
  "query-balloon": { args: NoArguments; result: { readonly actual: number } };
  "chardev-add": { args: { id: string; backend: AnyProperties }; result: AnyProperties };
  "chardev-remove": { args: { id: string }; result: EmptyResult };
  "query-chardev": { args: NoArguments; result: readonly ChardevInfo[] };
  "human-monitor-command": { args: { "command-line": string; "cpu-index"?: number }; result: string };
  "query-commands": { args: NoArguments; result: readonly { readonly name: string }[] };
  /** An array of SchemaInfo, about 200 kB; see the QAPI introspection chapter of QEMU's documentation. */
  "query-qmp-schema": { args: NoArguments; result: readonly SchemaInfo[] };
}

export type QmpCommandName = keyof QmpCommands;
/** What any command may be given: a JSON object. */
export type QmpArguments = Readonly<Record<string, unknown>>;
export type NoArguments = Readonly<Record<string, never>>;
/** Commands that only do something answer `{}`. */
export type EmptyResult = NoArguments;
/** Properties that depend on the driver, type or back end. */
type AnyProperties = Readonly<Record<string, unknown>>;

export interface StatusInfo {
  readonly running: boolean;
  readonly singlestep: boolean;
  readonly status: RunState;
}

export type RunState =
  | "colo"
  | "debug"
  | "finish-migrate"
  | "guest-panicked"
  | "inmigrate"
  | "internal-error"
  | "io-error"
  | "paused"
  | "postmigrate"
  | "prelaunch"
  | "restore-vm"
  | "running"
  | "save-vm"
  | "shutdown"
  | "suspended"
  | "watchdog";

export interface VersionInfo {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  /** The distribution's version, e.g. "Debian 1:7.2+dfsg-7+deb12u18". */
  readonly package: string;
}

export interface MigrateArguments {
  /** `unix:PATH`, `tcp:HOST:PORT`, `fd:NAME`, `exec:COMMAND`. */
  readonly uri: string;
  readonly resume?: boolean;
}

export interface MigrationCapabilityStatus {
  /** E.g. `x-ignore-shared`, `events`, `multifd`, `pause-before-switchover`. */
  readonly capability: string;
  readonly state: boolean;
}

/** The parameters used here; QEMU knows more, and takes them all. */
export interface MigrationParameters extends AnyProperties {
  /** Bytes per second; 0 is unlimited. */
  readonly "max-bandwidth"?: number;
  /** Milliseconds. */
  readonly "downtime-limit"?: number;
  readonly "multifd-channels"?: number;
}

export interface MigrationInfo {
  /** Absent when there never was a migration. */
  readonly status?: MigrationStatus;
  readonly ram?: MigrationStats;
  /** Milliseconds since the migration began, or that it took. */
  readonly "total-time"?: number;
  /** Milliseconds. */
  readonly downtime?: number;
  /** Milliseconds. */
  readonly "setup-time"?: number;
  readonly "error-desc"?: string;
}

export type MigrationStatus =
  | "none"
  | "setup"
  | "cancelling"
  | "cancelled"
  | "active"
  | "postcopy-active"
  | "postcopy-paused"
  | "postcopy-recover"
  | "completed"
  | "failed"
  | "colo"
  | "pre-switchover"
  | "device"
  | "wait-unplug";

/** Sizes in bytes. */
export interface MigrationStats {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
  readonly "dirty-pages-rate": number;
  readonly mbps: number;
}

/** Receive filter of a NIC as the guest programmed it, seen from outside. */
export interface RxFilterInfo {
  readonly name: string;
  readonly "main-mac": string;
  readonly promiscuous: boolean;
  readonly multicast: "normal" | "none" | "all";
  readonly unicast: "normal" | "none" | "all";
  readonly vlan: "normal" | "none" | "all";
  readonly "broadcast-allowed": boolean;
  readonly "multicast-overflow": boolean;
  readonly "unicast-overflow": boolean;
  readonly "vlan-table": readonly number[];
  readonly "unicast-table": readonly string[];
  readonly "multicast-table": readonly string[];
}

export interface BlockInfo {
  readonly device: string;
  readonly qdev?: string;
  readonly type: string;
  readonly removable: boolean;
  readonly locked: boolean;
  readonly inserted?: BlockDeviceInfo;
}

export interface BlockDeviceInfo {
  readonly file: string;
  readonly "node-name"?: string;
  readonly ro: boolean;
  readonly drv: string;
  readonly backing_file?: string;
  readonly backing_file_depth: number;
}

export interface NamedBlockNode {
  readonly "node-name": string;
  /** The format or, of what is below that, the protocol: `qcow2`, `file`. */
  readonly drv: string;
  /** A path, or a description that begins with `json:` where the path alone would not lead to the same chain. */
  readonly file: string;
  /** As `file`, of the node below. */
  readonly backing_file?: string;
  readonly ro: boolean;
  /** Sizes in bytes. */
  readonly image: { readonly "virtual-size": number; readonly "actual-size"?: number };
}

export interface BlockStreamArguments {
  /** The node that is copied into. */
  readonly device: string;
  readonly "job-id": string;
  /** What stays below. */
  readonly "base-node": string;
  /** The name of that in the image's header. */
  readonly "backing-file": string;
  readonly speed: number;
  readonly "on-error": "report" | "ignore" | "stop" | "enospc";
  readonly "auto-dismiss": boolean;
}

/** Progress, from 0 to `len`; neither says how many bytes were copied. */
export interface BlockJobInfo {
  readonly device: string;
  readonly type: string;
  readonly status: string;
  readonly offset: number;
  readonly len: number;
}

export interface CpuInfoFast {
  readonly "cpu-index": number;
  readonly "qom-path": string;
  /** The host's thread id, for pinning and for /proc. */
  readonly "thread-id": number;
  readonly props?: Readonly<Record<string, number>>;
  readonly target: string;
}

/** Sizes in bytes. */
export interface MemoryInfo {
  readonly "base-memory": number;
  readonly "plugged-memory"?: number;
}

export interface ChardevInfo {
  readonly label: string;
  readonly filename: string;
  /** Whether the device in the guest is open, e.g. the guest agent has its port open. */
  readonly "frontend-open": boolean;
}

export interface SchemaInfo {
  readonly name: string;
  readonly "meta-type": string;
}
