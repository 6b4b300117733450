import type {
  DaemonEvent,
  DockView,
  MemoryUseView,
  OperationView,
  Second,
  Snapshot,
  SubstrateView,
  Tick,
  VmView,
} from "../../api/index.ts";

/** How many seconds the charts go back; as many as the daemon keeps. */
export const CHART_SECONDS = 600;
/** Lines of the event log. */
export const MAX_LOG = 500;
/** Activations in the waterfall. */
export const MAX_ACTIVATIONS = 12;
/** VMs that have ended and can still be looked at. */
export const MAX_ENDED = 50;
/** Operations that have ended and are still listed. */
export const MAX_ENDED_OPERATIONS = 20;

/** How the page hears of changes. */
type Stream =
  | { readonly phase: "connecting" }
  | { readonly phase: "live" }
  | { readonly phase: "reconnecting"; readonly since: number; readonly retryAt: number; readonly why: string };

/** All that the page knows of the daemon. `undefined`: not heard yet. */
export interface State {
  readonly stream: Stream;
  readonly vms: ReadonlyMap<string, VmView> | undefined;
  /** VMs that were seen to end, the latest last. */
  readonly ended: ReadonlyMap<string, VmView>;
  /** By `dockKey`. */
  readonly docks: ReadonlyMap<string, DockView> | undefined;
  readonly memory: MemoryUseView | undefined;
  /** In order of time, at most `CHART_SECONDS`. */
  readonly seconds: readonly Second[] | undefined;
  readonly substrates: readonly SubstrateView[] | undefined;
  readonly operations: ReadonlyMap<string, OperationView>;
  /** The latest first. */
  readonly activations: readonly VmView[];
  /** The latest first. */
  readonly log: readonly DaemonEvent[];
  /** What the daemon's clock is ahead of this machine's, milliseconds. */
  readonly skewMs: number;
}

export type Action =
  | { readonly type: "stream"; readonly stream: Stream }
  | { readonly type: "snapshot"; readonly snapshot: Snapshot }
  | { readonly type: "event"; readonly event: DaemonEvent }
  | { readonly type: "tick"; readonly tick: Tick; readonly now: number }
  | { readonly type: "stats"; readonly seconds: readonly Second[] }
  | { readonly type: "substrates"; readonly substrates: readonly SubstrateView[] }
  | { readonly type: "operations"; readonly operations: readonly OperationView[] };

export const INITIAL: State = {
  stream: { phase: "connecting" },
  vms: undefined,
  ended: new Map(),
  docks: undefined,
  memory: undefined,
  seconds: undefined,
  substrates: undefined,
  operations: new Map(),
  activations: [],
  log: [],
  skewMs: 0,
};

/** What a dock is kept under: the name that it was asked for by. */
export function dockKey({ substrate, version, pinned }: Pick<DockView, "substrate" | "version" | "pinned">): string {
  return pinned ? `${substrate}@${version}` : substrate;
}
