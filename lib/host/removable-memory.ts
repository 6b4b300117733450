import { setTimeout as delay } from "node:timers/promises";
import { isVmSubstrateError, MIB } from "../core/index.ts";
import type { Monitor } from "./monitor.ts";

type Qmp = Pick<Monitor, "execute">;

/** A guest that has switched a module's memory off lets it go at once; one that does not may keep it. */
const UNPLUG_MEMORY_TIMEOUT_MS = 10_000;
const UNPLUG_MEMORY_POLL_MS = 10;

/** As `plugMemory` names them. */
const MODULE_PREFIX = "removable-dimm";
const BACKEND_PREFIX = "removable-ram";

/** A memory module that can be taken away again. */
export interface RemovableModule {
  /** QEMU's, of the device. */
  readonly id: string;
  readonly sizeMiB: number;
  /** Where the guest has it: a physical address. */
  readonly address: number;
}

interface MemoryDevice {
  readonly type: string;
  readonly data: { readonly id?: string; readonly memdev: string; readonly addr: number; readonly size: number };
}

/** All that a VM has, as QEMU counts it. @throws VmSubstrateError QMP_*, ABORTED */
export async function machineMemoryMiB(qmp: Qmp, signal: AbortSignal): Promise<number> {
  const memory = await qmp.execute("query-memory-size-summary", {}, { signal });
  return (memory["base-memory"] + (memory["plugged-memory"] ?? 0)) / MIB;
}

/** @throws VmSubstrateError QMP_*, ABORTED */
export async function removableModules(qmp: Qmp, signal: AbortSignal): Promise<RemovableModule[]> {
  const devices = await qmp.execute<readonly MemoryDevice[]>("query-memory-devices", {}, { signal });
  return devices.flatMap(({ data: { id = "", size, addr: address } }) =>
    id.startsWith(MODULE_PREFIX) ? [{ id, sizeMiB: size / MIB, address }] : [],
  );
}

/**
 * Asks the guest for a module, and takes its memory away when the guest has let it go.
 *
 * @returns false when the guest has kept it. It may still let it go later: then the next `dropUnusedMemory` gives it back.
 * @throws VmSubstrateError QMP_*, ABORTED
 */
export async function unplugModule(qmp: Qmp, { id }: RemovableModule, signal: AbortSignal): Promise<boolean> {
  await qmp.execute("device_del", { id }, { signal }).catch((error: unknown) => {
    if (!isVmSubstrateError(error, "QMP_COMMAND_FAILED")) throw error; // it was asked before, and is asked still
  });
  const until = performance.now() + UNPLUG_MEMORY_TIMEOUT_MS;
  while ((await removableModules(qmp, signal)).some((module) => module.id === id)) {
    if (performance.now() > until) return false;
    await delay(UNPLUG_MEMORY_POLL_MS, undefined, { signal });
  }
  await dropUnusedMemory(qmp, signal);
  return true;
}

/** Gives memory back whose module is gone. @throws VmSubstrateError QMP_*, ABORTED */
export async function dropUnusedMemory(qmp: Qmp, signal: AbortSignal): Promise<void> {
  const objects = await qmp.execute<readonly { readonly name: string }[]>("qom-list", { path: "/objects" }, { signal });
  const devices = await qmp.execute<readonly MemoryDevice[]>("query-memory-devices", {}, { signal });
  const used = new Set(devices.map(({ data }) => data.memdev));
  for (const { name } of objects) {
    if (name.startsWith(BACKEND_PREFIX) && !used.has(`/objects/${name}`)) {
      await qmp.execute("object-del", { id: name }, { signal });
    }
  }
}
