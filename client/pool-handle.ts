import type { EventSource, Pool, PoolEvents, Session, Vm, VmEvents } from "../lib/index.ts";

/** A program that runs in a VM, with its streams. */
export interface SessionHandle
  extends AsyncDisposable,
    Pick<Session, "stdin" | "stdout" | "stderr" | "resize" | "kill" | "exited"> {}

/** A VM, of this process or of a daemon. */
export interface VmHandle
  extends AsyncDisposable,
    Pick<
      Vm,
      | "id"
      | "hostname"
      | "address"
      | "address6"
      | "mac"
      | "machineId"
      | "sshHostKey"
      | "substrate"
      | "resources"
      | "origin"
      | "labels"
      | "createdAt"
      | "timings"
      | "state"
      | "pid"
      | "expiresAt"
      | "exec"
      | "readFile"
      | "writeFile"
      | "memory"
      | "console"
      | "park"
      | "resume"
      | "extend"
      | "shrink"
      | "freeze"
      | "release"
    > {
  readonly events: EventSource<VmEvents>;
  session(...given: Parameters<Vm["session"]>): Promise<SessionHandle>;
  fork(...given: Parameters<Vm["fork"]>): Promise<VmHandle[]>;
}

/** What happens in a pool, told of handles. */
export type PoolEventsOf<Handle> = { [Name in keyof PoolEvents]: ToldOf<PoolEvents[Name], Handle> };
type ToldOf<Told extends unknown[], Handle> = { [I in keyof Told]: Told[I] extends Vm ? Handle : Told[I] };

/** A pool, of this process or of a daemon: what a program is written against that is to work with both. */
export interface PoolHandle
  extends AsyncDisposable,
    Pick<
      Pool,
      | "substrates"
      | "build"
      | "dock"
      | "docked"
      | "undock"
      | "docks"
      | "memory"
      | "exportSubstrate"
      | "importSubstrate"
      | "removeSubstrate"
      | "pruneSubstrates"
      | "scrubSubstrates"
      | "gc"
      | "close"
    > {
  readonly vms: readonly VmHandle[];
  readonly events: EventSource<PoolEventsOf<VmHandle>>;
  activate(...given: Parameters<Pool["activate"]>): Promise<VmHandle[]>;
  activateSettled(
    ...given: Parameters<Pool["activateSettled"]>
  ): Promise<
    ({ readonly vm: VmHandle } | Exclude<Awaited<ReturnType<Pool["activateSettled"]>>[number], { vm: unknown }>)[]
  >;
  coldBoot(...given: Parameters<Pool["coldBoot"]>): Promise<VmHandle[]>;
}
