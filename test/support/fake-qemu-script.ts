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
  /** `cont` was received, and not answered yet. */
  "cont",
  /** `cont` was answered: the guest runs. */
  "running",
  /** A request that sets the MAC address reached the helper. */
  "personalise",
  /** `query-rx-filter` was received. */
  "rx-filter",
  /** `netdev_add` was received. */
  "join",
  /** `set_link` was received. */
  "link",
  /** A request that asks for the carrier reached the helper. */
  "carrier",
  /** Any line reached the guest agent. */
  "agent",
  /** `migrate` was received. */
  "migrate",
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
  readonly lies?: Readonly<
    Partial<Record<"hostname" | "mac" | "ipv4" | "ipv6" | "entropy" | "clock" | "carrier", string>>
  >;
  /** How far the guest's clock is off, whatever it is set to. */
  readonly clockOffsetMs?: number;
  /** The MAC address that the monitor shows instead of the one that the guest programmed. */
  readonly rxFilterMac?: string;
  readonly ignoreSigterm?: boolean;
}

/** From a fake VM to its test. */
export type FakeReport =
  | { readonly pid: number; readonly argv: readonly string[] }
  | {
      readonly step: FakeStep;
      /** The arguments of the command that is this step, where a test may want them. */
      readonly args?: Readonly<Record<string, unknown>>;
    };
/** From a test to its fake VM: first the script, then leave to pass a held step. */
export type FakeOrder = { readonly script: FakeScript } | { readonly pass: FakeStep };
