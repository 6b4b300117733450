import type { HelperOperation } from "../../lib/netcfg/index.ts";

/** The places at which a test can watch, hold or break a fake VM, in the order of an activation. */
const FAKE_STEPS = [
  /** The process runs; nothing listens yet. */
  "start",
  /** Somebody connected to the monitor; the greeting is next. */
  "greeting",
  /** `migrate-incoming` was received. */
  "incoming",
  /** The stream was read; until this step is passed the state is `inmigrate`. */
  "load",
  /** `device_add` of a processor was received. */
  "add-cpu",
  /** `object-add` of memory was received. */
  "add-memory",
  /** `device_add` of a memory module was received. */
  "add-module",
  /** `device_del` of a memory module was received. */
  "remove-module",
  /** `object-del` of memory was received. */
  "remove-memory",
  /** `block_resize` was received. */
  "resize-disk",
  /** `cont` was received, and not answered yet. */
  "cont",
  /** `cont` was answered: the guest runs. */
  "running",
  /** `stop` was received, and not answered yet. */
  "stop",
  /** A request that sets the MAC address reached the helper. */
  "personalise",
  /** `query-rx-filter` was received. */
  "rx-filter",
  /** `netdev_add` of the network was received. */
  "join",
  /** `netdev_add` of what plugs the VM into it was received. */
  "plug",
  /** Any line reached the guest agent. */
  "agent",
  /** `chardev-add` of what is behind the port of sessions was received. */
  "add-chardev",
  /** `device_add` of that port was received. */
  "add-port",
  /** The guest agent is to start the program that carries sessions. */
  "carry",
  /** Something of a session reached that program. */
  "session",
  /** `device_del` of the port was received. */
  "remove-port",
  /** `chardev-remove` was received. */
  "remove-chardev",
  /** `migrate` was received. */
  "migrate",
  /** `blockdev-snapshot` was received. */
  "split",
  /** `blockdev-snapshot-sync` was received. */
  "layer",
  /** `block-stream` was received. */
  "flatten",
  /** Its job has copied everything; held, it is never done, and failed, it ends without having changed anything. */
  "flattened",
  /** `migrate-continue` was received. */
  "switchover",
  /** `ringbuf-read` was received. */
  "console",
] as const;
export type FakeStep = (typeof FAKE_STEPS)[number];

/**
 * `hold` waits until the test lets it go on, `die` ends the process, `fail` answers with an error. `hang-up`, for the agent
 * only, is a `die` whose end of the channel is seen before that of the process.
 */
type FakeAction = "hold" | "die" | "fail" | "hang-up";

/** What one fake VM does wrong. Everything else it does right. */
export interface FakeScript {
  readonly at?: Readonly<Partial<Record<FakeStep, FakeAction>>>;
  /** What the guest's helper says instead of the truth. */
  readonly lies?: { readonly [Name in HelperOperation["name"]]?: string };
  /** How far the guest's clock is off, whatever it is set to. */
  readonly clockOffsetMs?: number;
  /** How fast the guest's clock runs. */
  readonly clockRate?: number;
  /** The MAC address that the monitor shows instead of the one that the guest programmed. */
  readonly rxFilterMac?: string;
  /** Operations that the guest's helper cannot do, once it was given its identity. */
  readonly refuses?: readonly string[];
  /** All that the guest has said on its console, each character a byte. */
  readonly console?: string;
  /** What the guest's program of sessions does instead of its work. `gone` is what the monitor shows of one that has ended. */
  readonly carrier?: "deaf" | "garbage" | "gone" | "broken";
  /** The guest never lets a memory module go. */
  readonly keepsModules?: boolean;
  readonly ignoreSigterm?: boolean;
  /** The host's disk: whoever asks finds the guest stopped by it. */
  readonly diskIsFull?: boolean;
  /** How much later it is for everybody else whenever the guest runs again, as if its pauses had been that long. */
  readonly pausesMs?: number;
}

/** From a fake VM to its test. */
export type FakeReport =
  /** It does wrong from here on what it was last told to. */
  | { readonly follows: true }
  | { readonly pid: number; readonly argv: readonly string[] }
  | {
      readonly step: FakeStep;
      /** The arguments of the command that is this step, where a test may want them. */
      readonly args?: Readonly<Record<string, unknown>>;
    };
/** From a test to its fake VM: a script, also in place of an earlier one, and leave to pass a held step. */
export type FakeOrder = { readonly script: FakeScript } | { readonly pass: FakeStep };
