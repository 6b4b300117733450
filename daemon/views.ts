import type {
  ActivateBody,
  DockView,
  GcReportView,
  MemoryUseView,
  Outcomes,
  PruneReportView,
  SubstrateView,
  VmView,
} from "../api/index.ts";
import type { ActivateOutcome, ActivateSpec, FileSpec } from "../lib/index.ts";
import {
  type DockStatus,
  type GcReport,
  type MemoryUse,
  type PruneReport,
  type SubstrateInfo,
  type Vm,
  VmSubstrateError,
} from "../lib/index.ts";
import { problemOf } from "./problem.ts";

/** What the pool has, as the API shows it. */
export function vmView(vm: Vm): VmView {
  const { id, hostname, address, mac, machineId, sshHostKey, substrate, origin, labels, pid, timings, resources } = vm;
  return {
    id,
    hostname,
    address,
    address6: vm.address6 ?? null,
    mac,
    machineId,
    sshHostKey,
    substrate: { ...substrate },
    resources: { ...resources },
    origin,
    state: shownState(vm),
    labels: { ...labels },
    createdAt: vm.createdAt.toISOString(),
    expiresAt: vm.expiresAt?.toISOString() ?? null,
    pid,
    timings: { totalMs: timings.totalMs, phasesMs: { ...timings.phasesMs } },
  };
}

/** One that was left to the next owner is shown by that owner. */
function shownState({ state, hostname }: Vm): VmView["state"] {
  if (state === "detached") throw new VmSubstrateError("VM_GONE", `VM ${hostname} was left to the next daemon`);
  return state;
}

export function dockView(status: DockStatus): DockView {
  const { maxMiB, memoryMiB, lastError, ...rest } = status;
  return { ...rest, maxMiB: maxMiB ?? null, memoryMiB: memoryMiB ?? null, lastError: lastError ?? null };
}

export function memoryView({ clones, bytes, perVmBytes, budgetBytes }: MemoryUse): MemoryUseView {
  const rounded = { bytes: Math.round(bytes), perVmBytes: Math.round(perVmBytes) };
  return { clones, ...rounded, budgetBytes: budgetBytes ?? null };
}

export function gcView({ processes, folders, sharedMemory, records, leases, cache }: GcReport): GcReportView {
  return {
    processes: [...processes],
    folders: [...folders],
    sharedMemory: [...sharedMemory],
    records: [...records],
    leases: [...leases],
    cache: { ...cache, removed: [...cache.removed] },
  };
}

export function pruneView({ removed, inUse }: PruneReport): PruneReportView {
  return {
    removed: removed.map((one) => ({ ...one })),
    inUse: inUse.map(({ users, ...one }) => ({ ...one, users: users.map((user) => ({ ...user })) })),
  };
}

export function substrateView({ generalized, ...info }: SubstrateInfo): SubstrateView {
  return { ...info, generalized: generalized.map((one) => ({ ...one, paths: [...one.paths] })) };
}

export function outcomeViews(outcomes: readonly ActivateOutcome[]): Outcomes {
  return {
    outcomes: outcomes.map((one) => ("vm" in one ? { vm: vmView(one.vm) } : { error: problemOf(one.error) })),
  };
}

type SpecBody = ActivateBody["spec"];

/** What a request asks for, as the library takes it; that validates the values. @throws VmSubstrateError INVALID_ARGUMENT */
export function specOf({ files, ...spec }: SpecBody, idempotencyKey: string | undefined): ActivateSpec {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the library validates every value
  return { ...spec, files: files?.map(fileOf), idempotencyKey } as ActivateSpec;
}

function fileOf({ path, content, contentBase64, mode }: NonNullable<SpecBody["files"]>[number]): FileSpec {
  if ((content === undefined) === (contentBase64 === undefined)) {
    throw new VmSubstrateError("INVALID_ARGUMENT", `file ${path}: give either content or contentBase64`);
  }
  return { path, mode, content: content ?? Buffer.from(contentBase64 ?? "", "base64") };
}
