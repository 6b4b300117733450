import { availableParallelism } from "node:os";
import type { z } from "zod";
import { type CloneDependencies, makeZygote } from "../clone/index.ts";
import { Events, MIB } from "../core/index.ts";
import { monotonicMs, processMemory } from "../host/index.ts";
import { Catalog, formatReference } from "../substrate/index.ts";
import { Activations } from "./activations.ts";
import { Builds } from "./builds.ts";
import type { Calls } from "./calls.ts";
import { makeDocked } from "./docking.ts";
import { Docks } from "./docks.ts";
import type { DurableState } from "./durable-state.ts";
import { Flattening } from "./flattening.ts";
import { Forks } from "./forks.ts";
import { Freezes } from "./freezes.ts";
import { HandedOut } from "./handed-out.ts";
import { Health } from "./health.ts";
import { Instants } from "./instants.ts";
import { Lifetimes } from "./lifetimes.ts";
import { LoadedSubstrates } from "./loaded-substrates.ts";
import { Memory } from "./memory.ts";
import type { PoolEvents } from "./pool-events.ts";
import { Room } from "./room.ts";
import type { poolOptionsSchema } from "./schemas.ts";
import { Substrates } from "./substrates.ts";
import { Unsettled } from "./unsettled.ts";
import { VmCalls } from "./vm-calls.ts";
import { VmOwners } from "./vm-owners.ts";
import { WaitingLine } from "./waiting-line.ts";
import { type ZygoteDependencies, Zygotes } from "./zygotes.ts";

/** For each sign of life of a VM. */
const HEARTBEAT_TIMEOUT_MS = 5000;

export interface GivenParts {
  readonly deps: CloneDependencies;
  readonly options: z.output<typeof poolOptionsSchema>;
  readonly state: DurableState;
  /** Fires when the pool closes. */
  readonly closing: AbortSignal;
  readonly calls: Pick<Calls, "run">;
}

export type PoolParts = ReturnType<typeof poolParts>;

/** What a pool consists of, put together. */
export function poolParts({ deps: given, options, state, closing, calls }: GivenParts) {
  const { paths, qemu, logger, failpoint } = given;
  const { ledger } = state;
  const { accelerator, parallelStarts = availableParallelism() } = options;
  const events = new Events<PoolEvents>();
  const catalog = new Catalog(paths);
  const loaded = new LoadedSubstrates(catalog, paths, qemu, closing);
  const builds = new Builds(
    { ...given, events, accelerator: accelerator === "auto" ? undefined : accelerator },
    loaded,
  );
  const budgetBytes = options.memoryMiB === undefined ? undefined : options.memoryMiB * MIB;
  const memory = new Memory({ budgetBytes, measure: processMemory });
  const lifetimes = new Lifetimes({
    now: monotonicMs,
    record: (id, lifetime) => ledger.update(id, { lifetime }),
    logger,
  });
  const vms = new HandedOut({ ledger, memory, lifetimes, events });
  const health = new Health({
    intervalMs: options.heartbeatMs,
    timeoutMs: HEARTBEAT_TIMEOUT_MS,
    vms: () => vms.all,
  });
  const line = new WaitingLine();
  const instants = new Instants({ paths, ledger });
  const owners = new VmOwners({
    ...state,
    lifetimes,
    memory,
    failpoint,
    events,
    vm: (id) => vms.get(id),
    forks: () => forks,
    instants,
    freezes: () => freezes,
    onGone: (id) => {
      vms.forget(id);
      line.notify();
    },
  });
  /** Ids of clones that are being made, docked, claimed or taken back. */
  const working = new Set<string>();
  const unsettled = new Unsettled();
  const room = new Room(memory, paths);
  const idle = () => docks.idle();
  const zygotes = new Zygotes({ ...given, make: zygoteMaker(given, options), memory, room, working, idle });
  const deps = { ...given, zygotes };
  const docking = { ...deps, ...state, memory, room, working, unsettled };
  const docks: Docks = new Docks({
    start: (substrate, target, signal) => makeDocked(substrate, target, signal, docking),
    meanBytes: (ids) => memory.meanBytes(ids),
    records: state.dockRecords,
    use: (reference) => loaded.use(reference, "dock"),
    events,
    parallelStarts,
    logger,
  });
  const substrates = new Substrates({ ...deps, ledger, catalog, loaded, builds, docks, events });
  const activations = new Activations({
    ...state,
    use: (reference, what) => loaded.use(reference, what),
    docks,
    memory,
    room,
    line,
    owners,
    working,
    unsettled,
    zygotes,
    parallelStarts,
    failpoint,
    onWaiting: ({ reference, count }, position) =>
      events.announce("waiting", { substrate: formatReference(reference), count, position }),
    onHandedOver: (vm) => vms.handOver(vm),
  });
  const flattening = new Flattening({
    ...deps,
    ledger,
    instants,
    vm: (id) => vms.get(id),
    idle,
  });
  const forking = { ...deps, calls, ledger, loaded, activations, instants, flattening, working, events };
  const forks: Forks = new Forks(forking);
  const freezes: Freezes = new Freezes({ ...deps, calls, ledger, loaded, builds, docks, forks, flattening, events });
  const vmCalls = new VmCalls({ ...deps, ...state, calls, activations, docks, vms, events });
  return {
    deps,
    state,
    events,
    catalog,
    loaded,
    substrates,
    builds,
    memory,
    lifetimes,
    vms,
    health,
    owners,
    working,
    docks,
    zygotes,
    vmCalls,
    instants,
    flattening,
  };
}

function zygoteMaker(deps: CloneDependencies, options: GivenParts["options"]): ZygoteDependencies["make"] {
  const { forkServer } = deps;
  if (forkServer === undefined || !options.zygotes) return undefined;
  return (names, substrate, signal) => makeZygote(names, substrate, { ...deps, forkServer }, signal);
}
