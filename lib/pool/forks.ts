import { rm } from "node:fs/promises";
import {
  activateClone,
  type CloneDependencies,
  type ForkOptions,
  frozenResources,
  type InstantState,
  takeInstant,
  type Vm,
} from "../clone/index.ts";
import { hostFailure, MIB, newId, VmSubstrateError, validate, withDeadlineAndUndo, withFields } from "../core/index.ts";
import { requireMemory, requireSharedMemory } from "../host/index.ts";
import { enclosingNetwork } from "../netcfg/index.ts";
import { formatReference, LoadedSubstrate, type Manifest, requireCompatible } from "../substrate/index.ts";
import { activationCall } from "./activation-call.ts";
import type { ActivationCall, Activations, StartVm } from "./activations.ts";
import { reported } from "./call-report.ts";
import type { Calls } from "./calls.ts";
import type { Flattening } from "./flattening.ts";
import type { Instants } from "./instants.ts";
import type { LoadedSubstrates } from "./loaded-substrates.ts";
import { allVms, type Outcome, settleAll } from "./outcomes.ts";
import type { Announcer } from "./pool-events.ts";
import { activateOptionsSchema, activateSpecSchema } from "./schemas.ts";
import type { VmLedger } from "./vm-ledger.ts";
import type { VmRecord } from "./vm-record.ts";

/**
 * Each fork of a VM, and of its forks, is one more file under its disk, which every read of what was not written since passes. Until
 * the disk is made flat again.
 */
const MAX_FORK_DEPTH = 16;

export interface ForksDependencies extends CloneDependencies {
  readonly calls: Pick<Calls, "run">;
  readonly ledger: VmLedger;
  readonly loaded: LoadedSubstrates;
  readonly activations: Activations;
  readonly instants: Instants;
  readonly flattening: Flattening;
  /** Ids that something of this process works with, of instants as well. */
  readonly working: Set<string>;
  readonly events: Announcer;
}

const optionsSchema = activateSpecSchema
  .pick({
    hostname: true,
    authorizedKeys: true,
    env: true,
    run: true,
    labels: true,
    ttlMs: true,
    wait: true,
    timeoutMs: true,
  })
  .extend(activateOptionsSchema.shape);

/**
 * Makes VMs out of a running one. What is between them, an instant, is a substrate that nobody sees: RAM file and device state
 * go as soon as the forks have them in memory, its disk stays until the last VM that reads from it is gone.
 */
export class Forks {
  readonly #deps: ForksDependencies;

  constructor(deps: ForksDependencies) {
    this.#deps = deps;
  }

  /** @throws VmSubstrateError as `Vm.fork` */
  async fork(source: Vm, count: number, options: ForkOptions): Promise<Vm[]> {
    const startedAt = performance.now();
    const { signal, callId } = validate(optionsSchema, options, "fork");
    const record = this.#deps.ledger.get(source.id);
    if (record === undefined) throw new VmSubstrateError("VM_GONE", `fork: there is no VM ${source.id} any more`);
    const { env, signal: _signal, callId: _callId, ...given } = options;
    const spec = { ...given, env: { ...record.env, ...env }, substrate: formatReference(record.substrate) };
    const kind = { what: "fork", mode: "atomic" } as const;
    const own = { channel: record.channel, network: networkOf(record) };
    const { call, timeoutMs } = activationCall(kind, count, { ...spec, ...own }, callId);
    const deps = { ...this.#deps, logger: withFields(this.#deps.logger, { callId: call.callId }) };
    const start: StartVm = (plan, substrate, activation) => activateClone(plan, substrate, activation, deps);
    const outcomes = await this.#deps.calls.run(signal, (within) =>
      reported(call, this.#deps, () => {
        requireForkable(source, record);
        return withDeadlineAndUndo(
          { what: "fork", timeoutMs, signal: within },
          (inner) => this.#fork(source, { ...call, start, startedAt, signal: inner }),
          (made) => settleAll(allVms(made).map((vm) => vm.release())),
        );
      }),
    );
    return allVms(outcomes);
  }

  async #fork(source: Vm, call: Omit<ActivationCall, "use">): Promise<Outcome[]> {
    const { paths, qemu, loaded, activations, working, instants: disks, flattening } = this.#deps;
    using hold = await loaded.hold(call.reference, "fork");
    const { manifest, paths: files } = hold.substrate;
    requireAsFrozen(source, manifest);
    await requireCompatible(manifest, qemu, paths);
    await this.#requireRoom(manifest.memory, source);
    const instant = newId();
    working.add(instant);
    const held = new DisposableStack();
    const made: Outcome[] = [];
    try {
      const instants = await flattening.without(source.id, call.signal, () => {
        const earlier = this.#deps.ledger.get(source.id)?.instants ?? [];
        requireShort(source, earlier);
        held.use(disks.hold([instant, ...earlier])); // also when the source is gone before its forks are there
        return this.#take(source, { instant, earlier, manifest }, call);
      });
      const own = paths.instant(instant);
      const substrate = { manifest, paths: { ...files, state: own.state, disk: own.disk } };
      const taken = await LoadedSubstrate.ofInstant(substrate, paths.buildRam(instant), instants);
      const use = async () => ({ loaded: taken, [Symbol.dispose]: () => {} });
      made.push(...(await activations.run({ ...call, use })));
      return made;
    } finally {
      // The forks have both in memory, or there are none.
      await rm(paths.buildRam(instant), { force: true });
      await rm(paths.instant(instant).state, { force: true });
      working.delete(instant);
      held.dispose();
      await disks.sweep();
      for (const { id } of [source, ...allVms(made)]) flattening.look(id);
    }
  }

  /** @returns what is under the source's disk from now on, and under those of its forks */
  async #take(
    source: Vm,
    { instant, earlier, manifest }: { instant: string; earlier: readonly string[]; manifest: Manifest },
    call: Pick<ActivationCall, "count" | "signal" | "startedAt">,
  ): Promise<string[]> {
    const { ledger, events, failpoint } = this.#deps;
    const instants = [instant, ...earlier];
    await ledger.update(source.id, { instants }); // before its disk depends on it
    failpoint("fork.intended");
    const state: InstantState = { isSplit: false };
    const options = {
      ...this.#deps,
      id: source.id,
      instant,
      isLive: manifest.accelerator === "kvm",
      sizeBytes: manifest.diskSizeBytes,
      signal: call.signal,
    };
    const { pauseMs, writtenBytes } = await source
      .whileRunning("fork", (clone) => takeInstant(clone, options, state))
      .catch(async (error: unknown) => {
        if (!state.isSplit) await ledger.update(source.id, { instants: [...earlier] });
        throw hostFailure(error) ?? error;
      });
    const captureMs = performance.now() - call.startedAt;
    events.announce("forked", source, { count: call.count, pauseMs, captureMs, copiedBytes: writtenBytes });
    return instants;
  }

  /** Reading the source's memory also fills the holes of its substrate's RAM file, which a full tmpfs answers by SIGBUS. */
  async #requireRoom({ assignedBytes, residentBytes }: { assignedBytes: number; residentBytes: number }, source: Vm) {
    const purpose = `fork of VM ${source.hostname}, ${Math.round(assignedBytes / MIB)} MiB`;
    await requireSharedMemory(this.#deps.paths.sharedMemoryRoot, 2 * assignedBytes - residentBytes, purpose);
    await requireMemory(2 * assignedBytes - residentBytes, purpose);
  }
}

/** Where the source is: its forks are its neighbours. */
function networkOf({ fabric, identity }: VmRecord) {
  if (identity === undefined) throw new TypeError("a VM without an identity was handed out");
  const { address, prefixLength, address6, prefixLength6 } = identity;
  const subnet = enclosingNetwork(address, prefixLength);
  const subnet6 = address6 === undefined ? undefined : enclosingNetwork(address6, prefixLength6 ?? 128);
  return { fabric, subnet, subnet6 };
}

function requireForkable(source: Vm, { origin }: VmRecord): void {
  if (origin === "booted")
    throw refused(source, "was booted, and shares its memory with nobody; activate one to fork it");
}

function requireShort(source: Vm, { length: depth }: readonly string[]): void {
  if (depth < MAX_FORK_DEPTH) return;
  const why = `has ${depth} instants under its disk, at most ${MAX_FORK_DEPTH} may be there; fork it again when its disk was made flat`;
  throw refused(source, why, { depth });
}

/** What was plugged in is in the device state, and the forks' machines would not have it. */
function requireAsFrozen(source: Vm, manifest: Manifest): void {
  const frozen = frozenResources(manifest);
  const isGrown = (["cpus", "memoryMiB", "diskMiB"] as const).some((name) => source.resources[name] !== frozen[name]);
  if (isGrown) throw refused(source, "was claimed larger than its substrate; fork one that was not");
}

function refused({ hostname, id }: Vm, why: string, details: Readonly<Record<string, unknown>> = {}): VmSubstrateError {
  return new VmSubstrateError("FORK_REFUSED", `fork: VM ${hostname} (${id}) ${why}`, { details: { id, ...details } });
}
