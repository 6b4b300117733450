import { rm } from "node:fs/promises";
import { type Adoption, adoptClone, type Clone, type CloneDependencies, Vm } from "../clone/index.ts";
import {
  endProcess,
  type FoundProcess,
  findProcesses,
  machineMemoryMiB,
  type Paths,
  QemuInstance,
} from "../host/index.ts";
import type { VmLedger } from "./vm-ledger.ts";
import type { VmOwners } from "./vm-owners.ts";
import type { VmRecord } from "./vm-record.ts";

/** For the first word with a VM that was taken over. One that is stopped, or whose guest hangs, is kept as unresponsive. */
const FIRST_WORD_TIMEOUT_MS = 3000;

export interface RecoveryDependencies extends CloneDependencies {
  readonly ledger: VmLedger;
  readonly bootId: string;
  readonly owners: VmOwners;
}

export interface Recovered {
  /** Handed-over VMs that were taken over. */
  readonly vms: readonly Vm[];
  /** Records of handed-over VMs whose processes have ended meanwhile. */
  readonly lost: readonly VmRecord[];
  /** How many clones that nobody had were taken away. */
  readonly removed: number;
}

/**
 * Puts in order what the last owner left, however it ended: takes over what was handed out, and takes away all else. May itself
 * be interrupted anywhere, and be run again.
 */
export async function recover(deps: RecoveryDependencies): Promise<Recovered> {
  const { ledger, failpoint } = deps;
  const processes = new Map((await findProcesses(deps.paths)).map((found) => [found.id, found]));
  failpoint("recover.listed");
  const results = await Promise.allSettled(
    ledger.records.map((record) => recoverOne(record, processes.get(record.id), record.bootId === deps.bootId, deps)),
  );
  const outcomes = results.filter((result) => result.status === "fulfilled").map(({ value }) => value);
  for (const result of results) {
    if (result.status === "fulfilled") continue;
    // Whoever tries next must find them as they were: QEMU's monitor serves one connection.
    await Promise.all(outcomes.filter((outcome) => outcome instanceof Vm).map((vm) => vm.detach()));
    throw result.reason;
  }
  return {
    vms: outcomes.filter((outcome) => outcome instanceof Vm),
    lost: ledgerLost(outcomes),
    removed: outcomes.filter((outcome) => outcome === "removed").length,
  };
}

type Outcome = Vm | "removed" | { readonly lost: VmRecord };

async function recoverOne(
  record: VmRecord,
  process: FoundProcess | undefined,
  isThisBoot: boolean,
  deps: RecoveryDependencies,
): Promise<Outcome> {
  switch (record.phase) {
    // Nobody has it: away with it, whatever it may have become. A clone that was being claimed may hold its substrate's identity.
    case "launching":
    case "docked":
    case "claiming":
      await remove(record, process, deps);
      return "removed";
    // Its user has let go of it already.
    case "releasing":
      await remove(record, process, deps);
      return "removed";
    // Somebody has it: keep it on any doubt but that of its process being gone.
    case "running":
    case "parked": {
      const vm = isThisBoot ? await adopt(record, process, record.phase, deps) : undefined;
      if (vm !== undefined) return vm;
      await remove(record, process, deps);
      return { lost: record };
    }
    default:
      return unknownPhase(record.phase);
  }
}

/** A phase that is missing above does not compile. */
function unknownPhase(phase: never): never {
  throw new TypeError(`a record of unknown phase: ${String(phase)}`);
}

async function adopt(
  record: VmRecord,
  found: FoundProcess | undefined,
  phase: "running" | "parked",
  deps: RecoveryDependencies,
): Promise<Vm | undefined> {
  const { identity, process, timings } = record;
  if (identity === undefined || process === undefined || timings === undefined) return undefined;
  if (found?.pid !== process.pid || found.startTime !== process.startTime) return undefined;
  const { name, version } = record.substrate;
  const helperProgram = deps.paths.substrate(name, version).helper;
  const adoption: Adoption = { id: record.id, process, channel: record.channel, helperProgram };
  const clone = await adoptClone(adoption, deps);
  if (clone === undefined) return undefined;
  const resources = await presentResources(record, clone, deps).catch(async (error: unknown) => {
    await clone.detach();
    throw error;
  });
  const vm = new Vm({
    ...record,
    resources,
    identity,
    timings,
    createdAt: new Date(record.createdAt),
    clone,
    owner: deps.owners.of(record.id),
    failpoint: deps.failpoint,
    state: phase,
  });
  try {
    deps.failpoint("recover.adopted");
    await vm.settle(FIRST_WORD_TIMEOUT_MS);
    return vm;
  } catch (error) {
    await vm.detach();
    throw error;
  }
}

/** An owner that was killed between taking memory away and writing that down has left a record that says too much. */
async function presentResources(
  { id, resources }: VmRecord,
  { instance }: Clone,
  { owners }: RecoveryDependencies,
): Promise<VmRecord["resources"]> {
  if (resources.addedMemoryMiB === 0) return resources;
  const answering = machineMemoryMiB(instance.qmp, AbortSignal.timeout(FIRST_WORD_TIMEOUT_MS));
  const memoryMiB = await answering.catch(() => resources.memoryMiB); // one that is silent is soon found to be
  if (memoryMiB === resources.memoryMiB) return resources;
  await owners.of(id).shrunk(memoryMiB);
  return { ...resources, memoryMiB };
}

async function remove(
  { id }: VmRecord,
  process: FoundProcess | undefined,
  { paths, owners, failpoint }: RecoveryDependencies,
): Promise<void> {
  if (process !== undefined) await endProcess(process);
  failpoint("recover.ended");
  await removeFiles(id, paths);
  await owners.forget(id);
  failpoint("recover.forgotten");
}

async function removeFiles(id: string, paths: Paths): Promise<void> {
  await QemuInstance.removeFolders(paths.vm(id));
  await rm(paths.buildRam(id), { force: true });
}

function ledgerLost(outcomes: readonly Outcome[]): VmRecord[] {
  return outcomes.filter((outcome) => typeof outcome === "object" && "lost" in outcome).map(({ lost }) => lost);
}
