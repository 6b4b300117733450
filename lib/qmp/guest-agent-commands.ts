import type { EmptyResult, NoArguments } from "./qmp-commands.ts";

/**
 * The guest-agent commands that this project uses, as qemu-ga 7.2 defines them. Their answers are checked for shape and
 * bounds before they are returned. They remain the guest's word: never decide anything about the host by them.
 *
 * Source: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
 */
export interface GuestAgentCommands {
  "guest-ping": { args: NoArguments; result: EmptyResult };
  "guest-info": { args: NoArguments; result: GuestAgentInfo };
  "guest-sync-delimited": { args: { id: number }; result: number };
  "guest-exec": { args: GuestExecArguments; result: { readonly pid: number } };
  "guest-exec-status": { args: { pid: number }; result: GuestExecStatus };
  /** Mode as for fopen(3); the result is a handle. */
  "guest-file-open": { args: { path: string; mode?: string }; result: number };
  /** `count` in bytes, at most MAX_FILE_READ_BYTES; 4096 unless given. */
  "guest-file-read": { args: { handle: number; count?: number }; result: GuestFileRead };
  "guest-file-write": { args: { handle: number; "buf-b64": string; count?: number }; result: GuestFileWrite };
  "guest-file-close": { args: { handle: number }; result: EmptyResult };
  "guest-file-flush": { args: { handle: number }; result: EmptyResult };
  "guest-file-seek": {
    args: { handle: number; offset: number; whence: "set" | "cur" | "end" };
    result: { readonly position: number; readonly eof: boolean };
  };
  /** `time` in nanoseconds since the epoch; without it the guest reads its RTC. A number resolves 256 ns here. */
  "guest-set-time": { args: { time?: number }; result: EmptyResult };
  /** Nanoseconds since the epoch, with a resolution of 256 ns. */
  "guest-get-time": { args: NoArguments; result: number };
  "guest-network-get-interfaces": { args: NoArguments; result: readonly GuestNetworkInterface[] };
  "guest-get-host-name": { args: NoArguments; result: { readonly "host-name": string } };
  "guest-get-osinfo": { args: NoArguments; result: GuestOsInfo };
  /** Answers only to report an error; success is the guest going down. */
  "guest-shutdown": { args: { mode?: "halt" | "powerdown" | "reboot" }; result: EmptyResult };
}

export type GuestAgentCommandName = keyof GuestAgentCommands;

export interface GuestAgentInfo {
  readonly version: string;
  readonly supported_commands: readonly {
    readonly name: string;
    readonly enabled: boolean;
    readonly "success-response": boolean;
  }[];
}

export interface GuestExecArguments {
  /** Looked up in PATH when it has no slash. */
  readonly path: string;
  readonly arg?: readonly string[];
  /** "NAME=value"; replaces the agent's environment entirely. */
  readonly env?: readonly string[];
  /** Base64. */
  readonly "input-data"?: string;
  readonly "capture-output"?: boolean;
}

export interface GuestExecStatus {
  readonly exited: boolean;
  readonly exitcode?: number;
  /** Number of the signal that ended it. */
  readonly signal?: number;
  /** Base64, as `err-data`. */
  readonly "out-data"?: string;
  readonly "err-data"?: string;
  readonly "out-truncated"?: boolean;
  readonly "err-truncated"?: boolean;
}

export interface GuestFileRead {
  /** Bytes read. */
  readonly count: number;
  /** Base64 of `count` bytes. */
  readonly "buf-b64": string;
  readonly eof: boolean;
}

export interface GuestFileWrite {
  /** Bytes written, which may be fewer than were sent. */
  readonly count: number;
  readonly eof: boolean;
}

export interface GuestNetworkInterface {
  readonly name: string;
  readonly "hardware-address"?: string;
  readonly "ip-addresses"?: readonly {
    readonly "ip-address": string;
    readonly "ip-address-type": "ipv4" | "ipv6";
    readonly prefix: number;
  }[];
}

/** Every field is absent where the guest's /etc/os-release and uname do not say. */
export interface GuestOsInfo {
  readonly "kernel-release"?: string;
  readonly "kernel-version"?: string;
  readonly machine?: string;
  readonly id?: string;
  readonly name?: string;
  readonly "pretty-name"?: string;
  readonly version?: string;
  readonly "version-id"?: string;
  readonly variant?: string;
  readonly "variant-id"?: string;
}
